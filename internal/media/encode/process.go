package encode

import (
	"os"
	"os/exec"
	"runtime"
)

// Bounds of what an input may ask of the machine. Whoever uploads it chose every byte.
const (
	maxPixels = 8192 * 4320 // of a picture
	maxAnswer = 4 << 20     // bytes that ffprobe may say of an input

	// Bytes of data of one process, and more for each core: ffmpeg and x264 have threads for each, with stacks and frames
	// of their own.
	memoryOfProcess = 4 << 30
	memoryOfCore    = 256 << 20
)

func maxMemory() uint64 { return memoryOfProcess + memoryOfCore*uint64(runtime.NumCPU()) }

// inherited are the environment variables that ffmpeg and ffprobe need. The server's others are none of their business:
// its passphrase and the keys of its storage are among them.
var inherited = []string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP"}

func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// start runs cmd apart from the server: in an environment and a process group of its own, and within the bounds. The
// caller stays on its OS thread until it has waited for cmd.
func start(cmd *exec.Cmd) error {
	cmd.Env = environment()
	isolate(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	confine(cmd)
	return nil
}
