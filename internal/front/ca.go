package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/durable"
)

// leafLife stays under the 398 days that Apple's clients accept.
const (
	leafLife      = 90 * 24 * time.Hour
	maxCommonName = 64 // ub-common-name of RFC 5280
)

// CA is a local certificate authority that vouches for the server's own hosts. It is safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	mu   sync.Mutex
	leaf map[string]*tls.Certificate // by host
}

// OpenCA reads the CA's key and certificate from the file at path (PEM, mode 0600), and makes them when it is missing. A
// new CA can vouch for the hosts' names and for loopback alone: a copy of its key impersonates nobody else.
func OpenCA(path string, hosts azure.Hosts) (*CA, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newCA(hosts); err == nil {
			err = durable.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the local CA: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("reading the local CA %s: %w", path, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading the local CA %s: its key is not an ECDSA key", path)
	}
	ca := &CA{cert: pair.Leaf, key: key, leaf: map[string]*tls.Certificate{}}
	if !ca.permits(hosts.Domain) {
		return nil, fmt.Errorf("the local CA %s vouches for %s, not for the domain %s: set the domain back, or remove the file for a new CA, which clients have to trust anew",
			path, strings.Join(pair.Leaf.PermittedDNSDomains, ", "), hosts.Domain)
	}
	return ca, nil
}

// permits reports whether the CA's name constraints cover a domain. A CA from before there were any covers all.
func (ca *CA) permits(domain string) bool {
	return len(ca.cert.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.cert.PermittedDNSDomains, func(permitted string) bool {
		return strings.EqualFold(domain, permitted) || strings.HasSuffix(strings.ToLower(domain), "."+strings.ToLower(permitted))
	})
}

func newCA(hosts azure.Hosts) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprintf("Keyreel local CA %x", serial.Bytes()[:4])},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         append([]string{strings.ToLower(hosts.Domain), "localhost"}, azure.PublicNames()...),
		PermittedIPRanges:           []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return encodePair(der, key)
}

// PEM returns the CA's certificate, for clients to trust.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool returns the CA's certificate as the roots of a client.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Leaf returns a certificate for a host, made when it is first asked for and again when a third of its life is left.
func (ca *CA) Leaf(host string) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if c, ok := ca.leaf[host]; ok && time.Until(c.Leaf.NotAfter) > leafLife/3 {
		return c, nil
	}
	c, err := ca.issue(host)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %s: %w", host, err)
	}
	if len(ca.leaf) >= 4096 { // names come from clients; forget rather than grow
		clear(ca.leaf)
	}
	ca.leaf[host] = c
	return c, nil
}

func (ca *CA) issue(host string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(host) <= maxCommonName { // OpenSSL takes no longer one
		template.Subject.CommonName = host
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
