package main

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// execute runs a program, hands signals on to it and returns its failure.
func execute(start func(*exec.Cmd) error, args, env []string, out, errOut io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, out, errOut
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := start(cmd); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// What was typed at the terminal has reached the program too, and some take a second one for a demand to
			// drop everything.
			if typed := s == os.Interrupt || s == syscall.SIGQUIT; !typed || !inForeground() {
				cmd.Process.Signal(s)
			}
		case err := <-done:
			return err
		}
	}
}
