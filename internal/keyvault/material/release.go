package material

import (
	"crypto"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/keyreel/keyreel/internal/keyvault/keywrap"
)

// ReleaseAlgorithms are the names of the mechanisms of WrapKey.
var ReleaseAlgorithms = []string{"CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384"}

// WrapKey wraps a key of any kind for the holder of an RSA key, as CKM_RSA_AES_KEY_WRAP of PKCS #11 does: a new AES-256 key
// under RSA-OAEP, and after it the key, in the form of Key.Bytes, under AES-KWP. The mechanisms differ in OAEP's hash: SHA-1,
// SHA-256, SHA-384.
func (p *Public) WrapKey(mechanism string, k *Key) ([]byte, error) {
	hash, known := map[string]crypto.Hash{
		ReleaseAlgorithms[0]: crypto.SHA1, ReleaseAlgorithms[1]: crypto.SHA256, ReleaseAlgorithms[2]: crypto.SHA384,
	}[mechanism]
	if !known || p.rsa == nil {
		return nil, badInput("enc", "has invalid value '%s'. It is 'CKM_RSA_AES_KEY_WRAP', 'RSA_AES_KEY_WRAP_256' or 'RSA_AES_KEY_WRAP_384'.", mechanism)
	}
	secret, err := k.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	ephemeral := make([]byte, 32)
	rand.Read(ephemeral)
	defer clear(ephemeral)
	out, err := rsa.EncryptOAEP(hash.New(), rand.Reader, p.rsa, ephemeral, nil)
	if err != nil {
		return nil, fmt.Errorf("wrapping with %s: %w", mechanism, err)
	}
	block, err := aes.NewCipher(ephemeral)
	if err != nil {
		return nil, fmt.Errorf("wrapping with %s: %w", mechanism, err)
	}
	wrapped, err := keywrap.WrapPad(block, secret)
	if err != nil {
		return nil, fmt.Errorf("wrapping with %s: %w", mechanism, err)
	}
	return append(out, wrapped...), nil
}
