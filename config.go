package keyreel

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyreel/keyreel/internal/azure"
)

// Config is everything that can be set. Each setting has one name: the key in the YAML file, the flag with "--" before
// it, and the environment variable KEYREEL_NAME in capitals with "_" for "-". A flag wins over the environment, the
// environment over the file, the file over the default.
type Config struct {
	Data            string `yaml:"data" usage:"folder for the database, objects and keys"`
	Listen          string `yaml:"listen" usage:"address of the TLS listener"`
	IdentityListen  string `yaml:"identity-listen" usage:"loopback address of the managed-identity endpoints (plain HTTP)"`
	IMDSListen      string `yaml:"imds-listen" usage:"link-local or loopback address of an instance metadata service, e.g. 169.254.169.254:80: whoever reaches it acts as imds-identities"`
	IMDSIdentities  string `yaml:"imds-identities" usage:"ARM IDs of its user-assigned identities, the default first, with commas between them"`
	FabricListen    string `yaml:"fabric-listen" usage:"loopback address of Service Fabric's managed-identity endpoint (TLS with a pinned certificate); empty is off"`
	ArcTokens       string `yaml:"arc-tokens" usage:"folder of Azure Arc's key files; its clients take /var/opt/azcmagent/tokens alone; empty is off"`
	PrivateNetworks bool   `yaml:"private-networks" usage:"connect to addresses off the public internet too, where users name hosts: issuers of federated credentials, vaults and storage elsewhere, job inputs"`
	IssuerCA        string `yaml:"issuer-ca" usage:"PEM file of CAs that vouch for federated issuers, beside the system's"`
	Domain          string `yaml:"domain" usage:"domain of the server's hosts, e.g. login.DOMAIN, {vault}.vault.DOMAIN"`
	PublicPort      string `yaml:"public-port" usage:"port that clients see, when it is not the listener's"`
	Locations       string `yaml:"locations" usage:"names of the regions that resources may be created in, e.g. westeurope,northeurope; empty is all that Azure has"`
	TLSCert         string `yaml:"tls-cert" usage:"PEM file of a certificate chain of your own for the TLS listener"`
	TLSKey          string `yaml:"tls-key" usage:"PEM file of its private key"`
	Database        string `yaml:"database" usage:"postgres://... URL; empty is SQLite in the data folder"`
	RootKey         string `yaml:"root-key" usage:"file of the root key; empty is root.key in the data folder"`
	RootPassphrase  string `yaml:"root-passphrase" usage:"passphrase that the root key is derived from instead of a key in the file"`
	S3Endpoint      string `yaml:"s3-endpoint" usage:"URL of an S3-compatible service for objects; empty is a folder in the data folder"`
	S3Region        string `yaml:"s3-region" usage:"its region"`
	S3Bucket        string `yaml:"s3-bucket" usage:"its bucket"`
	S3Prefix        string `yaml:"s3-prefix" usage:"prefix of the keys in the bucket"`
	S3AccessKey     string `yaml:"s3-access-key" usage:"access key"`
	S3SecretKey     string `yaml:"s3-secret-key" usage:"secret key"`
	LogLevel        string `yaml:"log-level" usage:"debug, info, warn or error"`
}

// DefaultConfig is what `keyreel serve` starts with when nothing is set.
func DefaultConfig() Config {
	return Config{
		Data: "data", Listen: "127.0.0.1:8443", IdentityListen: "127.0.0.1:8480",
		Domain: "keyreel.localhost", S3Region: "us-east-1", LogLevel: "info",
	}
}

const envPrefix = "KEYREEL_"

// LoadConfig reads the settings of a command: the file named by --config or KEYREEL_CONFIG, the environment (as
// os.Environ gives it) and the arguments. A name that no setting has is an error that names it. It returns
// flag.ErrHelp after it has printed the usage to help. more defines flags that are the command's own.
func LoadConfig(command string, args, environ []string, help io.Writer, more ...func(*flag.FlagSet)) (Config, error) {
	c := DefaultConfig()
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.SetOutput(help)
	file := fs.String("config", "", "YAML file with these settings")
	set := c.register(fs)
	for _, define := range more {
		define(fs)
	}
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("keyreel %s takes no argument: %q", command, fs.Arg(0))
	}
	fromFlags := map[string]string{}
	fs.Visit(func(f *flag.Flag) {
		if slices.Contains(set, f.Name) {
			fromFlags[f.Name] = f.Value.String()
		}
	})
	c = DefaultConfig() // the flags come last
	fromEnv, err := environment(environ, set, file)
	if err != nil {
		return c, err
	}
	if *file != "" {
		if err := c.readFile(*file); err != nil {
			return c, err
		}
	}
	for _, source := range []map[string]string{fromEnv, fromFlags} {
		for name, value := range source {
			if err := c.set(name, value); err != nil {
				return c, err
			}
		}
	}
	return c, c.validate()
}

// register adds a flag for each setting and returns their names.
func (c *Config) register(fs *flag.FlagSet) []string {
	var names []string
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name, usage := tag.Get("yaml"), tag.Get("usage")
		switch p := v.Field(i).Addr().Interface().(type) {
		case *string:
			fs.StringVar(p, name, *p, usage)
		case *bool:
			fs.BoolVar(p, name, *p, usage)
		}
		names = append(names, name)
	}
	return names
}

// set gives a setting that register has named its value.
func (c *Config) set(name, value string) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != name {
			continue
		}
		if v.Field(i).Kind() == reflect.String {
			v.Field(i).SetString(value)
			return nil
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%s: %q is neither true nor false", name, value)
		}
		v.Field(i).SetBool(on)
	}
	return nil
}

func environment(environ, names []string, file *string) (map[string]string, error) {
	out := map[string]string{}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		rest, ok := strings.CutPrefix(key, envPrefix)
		if !ok {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		switch {
		case name == "config":
			if *file == "" {
				*file = value
			}
		case slices.Contains(names, name):
			out[name] = value
		default:
			return nil, fmt.Errorf("environment variable %s: there is no setting %q; the settings are %s", key, name, strings.Join(names, ", "))
		}
	}
	return out, nil
}

func (c *Config) readFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) validate() error {
	switch {
	case c.Data == "":
		return errors.New("data: a folder is needed")
	case c.Domain == "" || strings.Trim(c.Domain, ".") != c.Domain:
		return fmt.Errorf("domain: %q is not a domain", c.Domain)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("tls-cert and tls-key belong together: set both or neither")
	case c.S3Endpoint != "" && c.S3Bucket == "":
		return errors.New("s3-bucket: a bucket is needed with s3-endpoint")
	case (c.IMDSListen == "") != (c.IMDSIdentities == ""):
		return errors.New("imds-listen and imds-identities belong together: set both or neither")
	}
	for _, id := range split(c.IMDSIdentities) {
		parsed, err := azure.ParseResourceID(id)
		if err != nil || !strings.EqualFold(parsed.Type(), "Microsoft.ManagedIdentity/userAssignedIdentities") {
			return fmt.Errorf("imds-identities: %q is not the ARM ID of a user-assigned identity", id)
		}
	}
	return nil
}

func (c *Config) locations() []string {
	out := split(strings.ToLower(c.Locations))
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], " ", "")
	}
	return out
}

// split returns the items of a list with commas between them.
func split(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// database returns the URL of the database.
func (c *Config) database() string {
	if c.Database == "" {
		return "sqlite:" + c.path("keyreel.db")
	}
	return c.Database
}

func (c *Config) path(name string) string { return filepath.Join(c.Data, name) }
