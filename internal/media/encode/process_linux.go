package encode

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate gives cmd a process group of its own, which is killed when its context ends or this process dies. The
// caller must stay on its OS thread while cmd runs: Linux takes the end of that thread for the parent's death.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// yieldTo lowers the priority of cmd, which runs, below that of everything interactive.
func yieldTo(cmd *exec.Cmd) { _ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10) }

// confine bounds the memory of cmd, which runs, and has the kernel end it before all others when the machine's runs out.
// Either fails when cmd has ended already.
func confine(cmd *exec.Cmd) {
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: maxMemory(), Max: maxMemory()}, nil)
	_ = os.WriteFile("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/oom_score_adj", []byte("1000"), 0)
}
