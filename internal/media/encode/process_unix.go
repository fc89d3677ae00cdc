//go:build unix && !linux

package encode

import (
	"os/exec"
	"syscall"
)

// isolate gives cmd a process group of its own, which is killed when its context ends.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// yieldTo lowers the priority of cmd, which runs, below that of everything interactive.
func yieldTo(cmd *exec.Cmd) { _ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10) }

// confine does nothing: bounds on memory are set on Linux alone.
func confine(*exec.Cmd) {}
