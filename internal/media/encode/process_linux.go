package encode

import (
	"os/exec"
	"syscall"
)

// isolate gives cmd a process group of its own, which is killed when its context ends or this process dies. The
// caller must stay on its OS thread while cmd runs: Linux takes the end of that thread for the parent's death.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// yieldTo lowers the priority of cmd, which runs, below that of everything interactive.
func yieldTo(cmd *exec.Cmd) { _ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10) }
