package material

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// private is a whole key as JWK, which nothing but tests writes.
func private(t testing.TB, k *Key) JWK {
	t.Helper()
	j := k.public.JWK()
	switch {
	case k.rsa != nil:
		p := k.rsa.Precomputed
		j.D, j.P, j.Q = encode(k.rsa.D.Bytes()), encode(k.rsa.Primes[0].Bytes()), encode(k.rsa.Primes[1].Bytes())
		j.DP, j.DQ, j.QI = encode(p.Dp.Bytes()), encode(p.Dq.Bytes()), encode(p.Qinv.Bytes())
	case k.ec != nil:
		d, err := k.ec.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		j.D = encode(d)
	case k.k1 != nil:
		j.D = encode(k.k1.Serialize())
	default:
		j.K, j.Bits = encode(k.oct), 0
	}
	return j
}

func generate(t testing.TB, s Spec) *Key {
	t.Helper()
	k, err := Generate(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// everySpec is one key of each kind and size; of RSA the smallest alone, for time.
func everySpec() (specs []Spec) {
	specs = append(specs, Spec{Type: RSA, Bits: 2048})
	for _, crv := range Curves {
		specs = append(specs, Spec{Type: EC, Curve: crv})
	}
	for _, bits := range OctSizes {
		specs = append(specs, Spec{Type: Oct, Bits: bits})
	}
	return specs
}

func TestForms(t *testing.T) {
	t.Parallel()
	for _, spec := range everySpec() {
		t.Run(fmt.Sprint(spec), func(t *testing.T) {
			t.Parallel()
			k := generate(t, spec)
			if diff := cmp.Diff(spec, k.Public().Spec()); diff != "" {
				t.Error(diff)
			}
			if got, err := ParseJWK(private(t, k)); err != nil || !got.Equal(k) {
				t.Errorf("JWK: %v", err)
			}
			text, err := json.Marshal(k.Public().JWK())
			if err != nil {
				t.Fatal(err)
			}
			var j JWK
			if err := json.Unmarshal(text, &j); err != nil {
				t.Fatal(err)
			}
			public, err := ParsePublic(j)
			if err != nil || !public.Equal(k.Public()) {
				t.Fatalf("%s: %v", text, err)
			}
			b, err := k.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			same, err := Parse(public, b)
			if err != nil || !same.Equal(k) {
				t.Errorf("stored form: %v", err)
			}
			other := generate(t, spec)
			if _, err := Parse(other.Public(), b); spec.Type != Oct && err == nil {
				t.Error("a private key is taken for that of another public key")
			}
			if _, err := Parse(public, b[:len(b)-1]); err == nil {
				t.Error("a stored key that was cut is taken")
			}
			if k.Equal(other) || !strings.Contains(string(text), string(spec.Type)) || strings.Contains(string(text), `"d"`) || strings.Contains(string(text), `"k"`) {
				t.Errorf("the public half is %s", text)
			}
			k.Zero()
			if k.oct != nil && !bytes.Equal(k.oct, make([]byte, len(k.oct))) || k.rsa != nil && k.rsa.D.Sign() != 0 && !isZero(k.rsa.D) || k.k1 != nil && !k.k1.Key.IsZero() {
				t.Error("Zero leaves something")
			}
		})
	}
}

func isZero(n *big.Int) bool {
	for _, w := range n.Bits() {
		if w != 0 {
			return false
		}
	}
	return true
}

func TestSpecs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		Spec
		property string
	}{
		{Spec{Type: RSA, Bits: 1024}, "key_size"},
		{Spec{Type: RSA, Bits: 2049}, "key_size"},
		{Spec{Type: RSA, Bits: 8192}, "key_size"},
		{Spec{Type: RSA, Bits: 2048, Exponent: 3}, "public_exponent"},
		{Spec{Type: EC, Curve: "P-224"}, "crv"},
		{Spec{Type: EC, Curve: "p-256"}, "crv"},
		{Spec{Type: EC}, "crv"},
		{Spec{Type: Oct, Bits: 64}, "key_size"},
		{Spec{Type: "OKP"}, "kty"},
		{Spec{}, "kty"},
	} {
		_, err := Generate(tt.Spec)
		var input *InputError
		if !errors.As(err, &input) || input.Property != tt.property {
			t.Errorf("%v: %v", tt.Spec, err)
		}
	}
}

// A key that is not whole, or not what it says, is refused, and the error names what is wrong with it.
func TestBadJWK(t *testing.T) {
	t.Parallel()
	rsaKey, other := private(t, generate(t, Spec{Type: RSA, Bits: 2048})), private(t, generate(t, Spec{Type: RSA, Bits: 2048}))
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	plus := func(s string, n int64) string { return encode(new(big.Int).Add(number(s), big.NewInt(n)).Bytes()) }
	for name, tt := range map[string]struct {
		change   func(j *JWK)
		property string
	}{
		"no kty":              {func(j *JWK) { j.Kty = "" }, "kty"},
		"kty of an HSM":       {func(j *JWK) { j.Kty = "RSA-HSM" }, "kty"},
		"no n":                {func(j *JWK) { j.N = "" }, "n"},
		"n of another key":    {func(j *JWK) { j.N = other.N }, "p"},
		"even n":              {func(j *JWK) { j.N = plus(j.N, 1) }, "n"},
		"n too short":         {func(j *JWK) { j.N = encode(new(big.Int).Rsh(number(j.N), 8).Bytes()) }, "n"},
		"n one bit too short": {func(j *JWK) { j.N = encode(new(big.Int).Rsh(number(j.N), 1).Bytes()) }, "n"},
		"n zero":              {func(j *JWK) { j.N = "AAAA" }, "n"},
		"no e":                {func(j *JWK) { j.E = "" }, "e"},
		"e is 1":              {func(j *JWK) { j.E = "AQ" }, "e"},
		"e is 3":              {func(j *JWK) { j.E = "Aw" }, "e"},
		"even e":              {func(j *JWK) { j.E = "AQAC" }, "e"},
		"e too large":         {func(j *JWK) { j.E = "_____w" }, "e"},
		"e of another d":      {func(j *JWK) { j.E = "AQAD" }, "d"},
		"no d":                {func(j *JWK) { j.D = "" }, "d"},
		"small d":             {func(j *JWK) { j.D = "AQAB" }, "d"},
		"wrong d":             {func(j *JWK) { j.D = plus(j.D, 2) }, "d"},
		"d of another key":    {func(j *JWK) { j.D = other.D }, "d"},
		"d longer than n":     {func(j *JWK) { j.D = encode(append([]byte{1}, make([]byte, 256)...)) }, "d"},
		"no p":                {func(j *JWK) { j.P = "" }, "p"},
		"no q":                {func(j *JWK) { j.Q = "" }, "q"},
		"p of another key":    {func(j *JWK) { j.P = other.P }, "p"},
		"p and q the same":    {func(j *JWK) { j.P = j.Q }, "p"},
		"p is 1 and q is n":   {func(j *JWK) { j.P, j.Q = "AQ", j.N }, "p"},
		"wrong dp":            {func(j *JWK) { j.DP = plus(j.DP, 1) }, "dp"},
		"dp and dq exchanged": {func(j *JWK) { j.DP, j.DQ = j.DQ, j.DP }, "d"},
		"wrong qi":            {func(j *JWK) { j.QI = other.QI }, "qi"},
		"standard base64":     {func(j *JWK) { j.D = "+" + j.D[1:] }, "d"},
		"a line break":        {func(j *JWK) { j.D = j.D[:4] + "\n" + j.D[4:] }, "d"},
		"all of another key": {func(j *JWK) {
			j.D, j.P, j.Q, j.DP, j.DQ, j.QI = other.D, other.P, other.Q, other.DP, other.DQ, other.QI
		}, "p"},
		"a length of one byte": {func(j *JWK) { j.N = "A" }, "n"},
	} {
		j := rsaKey
		tt.change(&j)
		_, err := ParseJWK(j)
		var input *InputError
		if !errors.As(err, &input) || !strings.HasPrefix(input.Property, tt.property) {
			t.Errorf("RSA, %s: %v, want an error about %s", name, err, tt.property)
		}
	}
	// What is optional may be missing, zeros may stand in front, and p and q in any order.
	for name, change := range map[string]func(j *JWK){
		"no CRT values": func(j *JWK) { j.DP, j.DQ, j.QI = "", "", "" },
		"zeros in front": func(j *JWK) {
			j.D, j.P = encode(append([]byte{0, 0}, number(j.D).Bytes()...)), encode(append([]byte{0}, number(j.P).Bytes()...))
		},
		"exchanged":       func(j *JWK) { j.P, j.Q, j.DP, j.DQ, j.QI = j.Q, j.P, j.DQ, j.DP, "" },
		"with padding":    func(j *JWK) { j.E += "==" },
		"a leading e":     func(j *JWK) { j.E = "AAEAAQ" },
		"fields of an EC": func(j *JWK) { j.Crv, j.X = "P-256", "AA" },
	} {
		j := rsaKey
		change(&j)
		if _, err := ParseJWK(j); err != nil {
			t.Errorf("RSA, %s: %v", name, err)
		}
	}
	for _, crv := range Curves {
		key, other := private(t, generate(t, Spec{Type: EC, Curve: crv})), private(t, generate(t, Spec{Type: EC, Curve: crv}))
		size := fieldSize(crv)
		order := map[string]string{
			P256K: "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141",
		}[crv]
		n, _ := new(big.Int).SetString(order, 16)
		if n == nil {
			n = curve(crv).Params().N
		}
		for name, tt := range map[string]struct {
			change   func(j *JWK)
			property string
		}{
			"no crv":             {func(j *JWK) { j.Crv = "" }, "crv"},
			"another crv":        {func(j *JWK) { j.Crv = map[string]string{P256: P256K, P384: P521, P521: P384, P256K: P256}[crv] }, "x"},
			"an unknown crv":     {func(j *JWK) { j.Crv = "Ed25519" }, "crv"},
			"no x":               {func(j *JWK) { j.X = "" }, "x"},
			"no y":               {func(j *JWK) { j.Y = "" }, "y"},
			"no d":               {func(j *JWK) { j.D = "" }, "d"},
			"off the curve":      {func(j *JWK) { j.Y = j.X }, "x"},
			"x too large":        {func(j *JWK) { j.X = encode(bytes.Repeat([]byte{0xff}, size)) }, "x"},
			"the origin":         {func(j *JWK) { j.X = encode(make([]byte, size)); j.Y = j.X }, "x"},
			"x too short":        {func(j *JWK) { j.X = encode(number(j.X).Bytes()[1:]) }, "x"},
			"x with a zero more": {func(j *JWK) { j.X = encode(append(make([]byte, 1), number(j.X).FillBytes(make([]byte, size))...)) }, "x"},
			"d of another key":   {func(j *JWK) { j.D = other.D }, "d"},
			"point of another":   {func(j *JWK) { j.X, j.Y = other.X, other.Y }, "d"},
			"d zero":             {func(j *JWK) { j.D = encode(make([]byte, size)) }, "d"},
			"d is the order":     {func(j *JWK) { j.D = encode(n.FillBytes(make([]byte, size))) }, "d"},
			"d and the order":    {func(j *JWK) { j.D = encode(new(big.Int).Add(n, big.NewInt(1)).FillBytes(make([]byte, size))) }, "d"},
			"d too short":        {func(j *JWK) { j.D = encode(make([]byte, size-1)) }, "d"},
		} {
			j := key
			tt.change(&j)
			_, err := ParseJWK(j)
			var input *InputError
			if !errors.As(err, &input) || input.Property != tt.property {
				t.Errorf("%s, %s: %v, want an error about %s", crv, name, err, tt.property)
			}
		}
	}
	for _, k := range []string{"", "AA", encode(make([]byte, 15)), encode(make([]byte, 33)), "not base64", encode(make([]byte, 64))} {
		if _, err := ParseJWK(JWK{Kty: "oct", K: k}); err == nil {
			t.Errorf("oct %q is taken", k)
		}
	}
}

// FuzzParseJWK: what is taken is whole, and comes back the same from all of its forms.
func FuzzParseJWK(f *testing.F) {
	for _, s := range everySpec() {
		text, err := json.Marshal(private(f, generate(f, s)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{`{}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, `{"kty":"EC","crv":"P-521","x":"AA","y":"AA","d":"AA"}`, `{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA"}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var j JWK
		if json.Unmarshal(text, &j) != nil {
			return
		}
		k, err := ParseJWK(j)
		var input *InputError
		if err != nil {
			if !errors.As(err, &input) {
				t.Errorf("%s: an error of the program: %v", text, err)
			}
			return
		}
		b, err := k.Bytes()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		public, err := ParsePublic(k.Public().JWK())
		if err != nil {
			t.Fatalf("%s: its public half: %v", text, err)
		}
		if same, err := Parse(public, b); err != nil || !same.Equal(k) {
			t.Errorf("%s: its stored form: %v", text, err)
		}
	})
}
