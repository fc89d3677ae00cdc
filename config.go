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
	"strings"

	"go.yaml.in/yaml/v3"
)

// Config is everything that can be set. Each setting has one name: the key in the YAML file, the flag with "--" before
// it, and the environment variable KEYREEL_NAME in capitals with "_" for "-". A flag wins over the environment, the
// environment over the file, the file over the default.
type Config struct {
	Data           string `yaml:"data" usage:"folder for the database, objects and keys"`
	Listen         string `yaml:"listen" usage:"address of the TLS listener"`
	IdentityListen string `yaml:"identity-listen" usage:"loopback address of the managed-identity endpoints (plain HTTP)"`
	Domain         string `yaml:"domain" usage:"domain of the server's hosts, e.g. login.DOMAIN, {vault}.vault.DOMAIN"`
	PublicPort     string `yaml:"public-port" usage:"port that clients see, when it is not the listener's"`
	Locations      string `yaml:"locations" usage:"names of the regions that resources may be created in, e.g. westeurope,northeurope; empty is all that Azure has"`
	TLSCert        string `yaml:"tls-cert" usage:"PEM file of a certificate chain of your own for the TLS listener"`
	TLSKey         string `yaml:"tls-key" usage:"PEM file of its private key"`
	Database       string `yaml:"database" usage:"postgres://... URL; empty is SQLite in the data folder"`
	RootKey        string `yaml:"root-key" usage:"file of the root key; empty is root.key in the data folder"`
	RootPassphrase string `yaml:"root-passphrase" usage:"passphrase that the root key is derived from instead of a key in the file"`
	S3Endpoint     string `yaml:"s3-endpoint" usage:"URL of an S3-compatible service for objects; empty is a folder in the data folder"`
	S3Region       string `yaml:"s3-region" usage:"its region"`
	S3Bucket       string `yaml:"s3-bucket" usage:"its bucket"`
	S3Prefix       string `yaml:"s3-prefix" usage:"prefix of the keys in the bucket"`
	S3AccessKey    string `yaml:"s3-access-key" usage:"access key"`
	S3SecretKey    string `yaml:"s3-secret-key" usage:"secret key"`
	LogLevel       string `yaml:"log-level" usage:"debug, info, warn or error"`
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
// flag.ErrHelp after it has printed the usage to help.
func LoadConfig(command string, args, environ []string, help io.Writer) (Config, error) {
	c := DefaultConfig()
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.SetOutput(help)
	file := fs.String("config", "", "YAML file with these settings")
	set := c.register(fs)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("keyreel %s takes no argument: %q", command, fs.Arg(0))
	}
	fromFlags := map[string]string{}
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "config" {
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
			c.field(name).SetString(value)
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
		p := v.Field(i).Addr().Interface().(*string)
		fs.StringVar(p, tag.Get("yaml"), *p, tag.Get("usage"))
		names = append(names, tag.Get("yaml"))
	}
	return names
}

func (c *Config) field(name string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == name {
			return v.Field(i)
		}
	}
	panic("no setting " + name) // names come from register
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
	}
	return nil
}

func (c *Config) locations() []string {
	var out []string
	for l := range strings.SplitSeq(c.Locations, ",") {
		if l = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(l), " ", "")); l != "" {
			out = append(out, l)
		}
	}
	return out
}

func (c *Config) path(name string) string { return filepath.Join(c.Data, name) }
