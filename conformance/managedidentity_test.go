package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreel/keyreel"
)

// arcFolder is the one folder in which Azure Arc's clients look for keys.
const arcFolder = "/var/opt/azcmagent/tokens"

// TestManagedIdentitySources: the managed-identity credential of each language, unmodified, finds its identity through
// every protocol of Azure's hosts that the language knows, the default one and one that it names, and is told when there
// is no such identity.
func TestManagedIdentitySources(t *testing.T) {
	t.Parallel()
	arc := useArcFolder(t)
	s := start(t, func(c *keyreel.Config) {
		c.FabricListen = "127.0.0.1:0"
		if arc {
			c.ArcTokens = arcFolder
		}
	})
	f := s.foreign(t)
	first, second := s.identity(t, "first"), s.identity(t, "second")
	workload, err := s.RegisterWorkload(t.Context(), "worker", *first.ID, *second.ID)
	check(t, err)
	endpoint, secret := strings.TrimPrefix(workload[0], "IDENTITY_ENDPOINT="), strings.TrimPrefix(workload[1], "IDENTITY_HEADER=")
	id := strings.Split(endpoint, "/")[4]
	credentials := map[string][]string{"Go": {"managed"}, "Python": {"managed"}, "Node": {"managed", "msal managed"}}
	for _, source := range append([]string{""}, keyreel.Sources()...) {
		if source == "arc" && !arc {
			continue
		}
		variables, err := s.Variables(source, id, secret)
		check(t, err)
		env := []string{}
		for name, value := range variables {
			env = append(env, name+"="+value)
		}
		for _, language := range signers {
			if source == "imds" && language.language == "Go" {
				continue // it knows no address but 169.254.169.254: see TestMetadataAddress
			}
			t.Run(source+" "+language.language, func(t *testing.T) {
				for _, kind := range credentials[language.language] {
					f.signIn(t, language, env, kind).is(t, kind, *first.Properties.PrincipalID)
					if source == "cloud-shell" || source == "service-fabric" || source == "arc" {
						continue // where clients refuse to name an identity
					}
					f.signIn(t, language, env, kind, *second.Properties.ClientID).is(t, kind+" by client id", *second.Properties.PrincipalID)
					if source != "" {
						continue // clients ask again and again for what is not there, for seconds
					}
					if got := f.signIn(t, language, env, kind, s.Installation().AdminAppID); got.Error == "" {
						t.Errorf("%s: an identity that the workload does not have gave a token of %v", kind, got.Claims["oid"])
					}
				}
			})
		}
	}
}

// useArcFolder reports whether the test may use Azure Arc's folder, which only root can make.
func useArcFolder(t *testing.T) bool {
	t.Helper()
	if _, err := os.Stat(arcFolder); err == nil {
		probe, err := os.CreateTemp(arcFolder, ".probe-*")
		if err != nil {
			t.Logf("Azure Arc is not tested: %v", err)
			return false
		}
		probe.Close()
		return os.Remove(probe.Name()) == nil
	}
	if err := os.MkdirAll(arcFolder, 0o750); err != nil {
		t.Logf("Azure Arc is not tested: its clients read keys from %s alone, which only root can make: %v", arcFolder, err)
		return false
	}
	t.Cleanup(func() {
		for dir := arcFolder; dir != "/var/opt" && os.Remove(dir) == nil; {
			dir = filepath.Dir(dir)
		}
	})
	return true
}

// TestMetadataAddress: on a machine where the server answers at 169.254.169.254, programs of every language sign in with
// no variable set at all. The machine is a network namespace.
func TestMetadataAddress(t *testing.T) {
	const inside = "TEST_KEYREEL_NAMESPACE"
	if os.Getenv(inside) == "" {
		t.Parallel()
		words := []string{"unshare", "-n"}
		if os.Geteuid() != 0 {
			words = []string{"unshare", "-rn"}
		}
		if err := exec.Command(words[0], append(words[1:], "true")...).Run(); err != nil {
			t.Skipf("this machine gives no network namespaces: %v", err)
		}
		cmd := exec.CommandContext(t.Context(), words[0], append(words[1:], "sh", "-c",
			`ip link set lo up && ip address add 169.254.169.254/32 dev lo && exec "$0" -test.run='^TestMetadataAddress$' -test.v`, os.Args[0])...)
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestMetadataAddress") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	data := t.TempDir()
	first := start(t, func(c *keyreel.Config) { c.Data = data })
	identity := first.identity(t, "machine")
	first.Stop(t)()
	s := start(t, func(c *keyreel.Config) {
		c.Data, c.IMDSListen, c.IMDSIdentities = data, "169.254.169.254:80", *identity.ID
	})
	f := &foreign{server: s, dir: t.TempDir()}
	f.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "LANG=C.UTF-8"}
	for _, language := range signers {
		kinds := []string{"managed", "default"}
		if language.language == "Node" {
			kinds = append(kinds, "msal managed")
		}
		for _, kind := range kinds {
			f.signIn(t, language, nil, kind).is(t, language.language+" "+kind, *identity.Properties.PrincipalID)
		}
	}
}
