package encode

import (
	"os/exec"
	"syscall"
)

// isolate gives cmd a process group of its own; the process is killed when its context ends.
func isolate(cmd *exec.Cmd) {
	const belowNormalPriority = 0x4000
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP | belowNormalPriority}
}

// yieldTo has nothing left to do: isolate set the priority.
func yieldTo(*exec.Cmd) {}

// confine does nothing: bounds on memory are set on Linux alone.
func confine(*exec.Cmd) {}
