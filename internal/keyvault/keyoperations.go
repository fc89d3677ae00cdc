package keyvault

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// keyOperations are the operations on keys. Clients write the path in any case and send an empty version, with its
// slash or without.
func (v *Vaults) keyOperations() []operation {
	const action = vaultType + "/keys/"
	version := func(rest string) []string { return []string{"/keys/{name}/{version}" + rest, "/keys/{name}" + rest} }
	return []operation{
		{"KeyCreate", http.MethodPost, []string{"/keys/{name}/create"}, action + "create/action", "create", v.createKey},
		{"KeyList", http.MethodGet, []string{"/keys"}, action + "read", "list", v.listKeys},
		{"KeyListVersions", http.MethodGet, []string{"/keys/{name}/versions"}, action + "read", "list", v.listVersions},
		{"KeyGet", http.MethodGet, version(""), action + "read", "get", v.getKey},
		{"KeyUpdate", http.MethodPatch, version(""), action + "update/action", "update", v.updateKey},
		{"KeyDelete", http.MethodDelete, []string{"/keys/{name}", "/keys/{name}/"}, action + "delete", "delete", v.deleteKey},
		{"KeyListDeleted", http.MethodGet, []string{"/deletedkeys"}, action + "read", "list", v.listDeletedKeys},
		{"KeyGetDeleted", http.MethodGet, []string{"/deletedkeys/{name}"}, action + "read", "get", v.getDeletedKey},
		{"KeyRecover", http.MethodPost, []string{"/deletedkeys/{name}/recover"}, action + "recover/action", "recover", v.recoverKey},
		{"KeyPurge", http.MethodDelete, []string{"/deletedkeys/{name}"}, action + "purge/action", "purge", v.purgeKey},
		{"KeyEncrypt", http.MethodPost, version("/encrypt"), action + "encrypt/action", opEncrypt, v.use(opEncrypt)},
		{"KeyDecrypt", http.MethodPost, version("/decrypt"), action + "decrypt/action", opDecrypt, v.use(opDecrypt)},
		{"KeyWrap", http.MethodPost, version("/wrapkey"), action + "wrap/action", opWrapKey, v.use(opWrapKey)},
		{"KeyUnwrap", http.MethodPost, version("/unwrapkey"), action + "unwrap/action", opUnwrapKey, v.use(opUnwrapKey)},
		{"KeySign", http.MethodPost, version("/sign"), action + "sign/action", opSign, v.use(opSign)},
		{"KeyVerify", http.MethodPost, version("/verify"), action + "verify/action", opVerify, v.use(opVerify)},
	}
}

// keyRequest is the body of create and update. What it leaves out is nil.
type keyRequest struct {
	Kty            string             `json:"kty"`
	KeySize        *int               `json:"key_size"`
	PublicExponent *int               `json:"public_exponent"`
	KeyOps         *[]string          `json:"key_ops"`
	Tags           *map[string]string `json:"tags"`
	ReleasePolicy  *struct{}          `json:"release_policy"`
	Attributes     struct {
		Enabled    *bool  `json:"enabled"`
		NotBefore  *int64 `json:"nbf"`
		Expires    *int64 `json:"exp"`
		Exportable *bool  `json:"exportable"`
	} `json:"attributes"`
}

// Azure's limits on tags.
const (
	maxTags      = 15
	maxTagLength = 256
)

// lastSecond is the end of the year 9999, beyond which clients cannot read a time.
const lastSecond = 253402300799

// applyTo changes what both create and update may set.
func (body *keyRequest) applyTo(k *key) error {
	if body.ReleasePolicy != nil || body.Attributes.Exportable != nil && *body.Attributes.Exportable {
		return badParameter("Exportable keys and release policies are not served here: leave out release_policy and attributes.exportable.")
	}
	if body.KeyOps != nil {
		k.ops = []string{}
		for _, op := range *body.KeyOps {
			i := slices.IndexFunc(keyOps, func(o string) bool { return strings.EqualFold(o, op) })
			if i < 0 {
				return badParameter("Property key_ops has invalid value '%s'. An RSA key has: %s.", op, strings.Join(keyOps, ", "))
			}
			if !slices.Contains(k.ops, keyOps[i]) {
				k.ops = append(k.ops, keyOps[i])
			}
		}
	}
	if body.Attributes.Enabled != nil {
		k.enabled = *body.Attributes.Enabled
	}
	for _, t := range []struct {
		name string
		from *int64
		to   *time.Time
	}{{"nbf", body.Attributes.NotBefore, &k.nbf}, {"exp", body.Attributes.Expires, &k.exp}} {
		if t.from == nil {
			continue
		}
		if *t.from <= 0 || *t.from > lastSecond {
			return badParameter("Property attributes.%s has invalid value %d. It is a time in seconds since 1970.", t.name, *t.from)
		}
		*t.to = time.Unix(*t.from, 0)
	}
	if !k.nbf.IsZero() && !k.exp.IsZero() && !k.nbf.Before(k.exp) {
		return badParameter("Property attributes.exp has invalid value: the key would expire before it becomes valid (attributes.nbf).")
	}
	if body.Tags != nil {
		if len(*body.Tags) > maxTags {
			return badParameter("Property tags has %d entries. A key has at most %d.", len(*body.Tags), maxTags)
		}
		for name, value := range *body.Tags {
			if len(name) > maxTagLength || len(value) > maxTagLength {
				return badParameter("Property tags has a name or value of more than %d characters.", maxTagLength)
			}
		}
		k.tags = *body.Tags
	}
	return nil
}

func (v *Vaults) createKey(c *call) (*result, error) {
	var body keyRequest
	if err := c.DecodeJSON("BadParameter", &body); err != nil {
		return nil, err
	}
	now := time.Now()
	k := key{vault: c.vault.ID, name: c.Vars["name"], enabled: true, created: now, updated: now, ops: keyOps}
	switch {
	case strings.EqualFold(body.Kty, "RSA"):
		k.kty = "RSA"
	case strings.EqualFold(body.Kty, "RSA-HSM"):
		k.kty = "RSA-HSM"
		if c.vault.SKU.Name != "premium" {
			return nil, forbidden("", "Hardware key operation not allowed on standard vault")
		}
	case body.Kty == "":
		return nil, badParameter("Property kty has invalid value: it is missing. This server makes 'RSA' and 'RSA-HSM' keys.")
	default:
		return nil, badParameter("Property kty has invalid value '%s'. This server makes 'RSA' and 'RSA-HSM' keys.", body.Kty)
	}
	bits := 2048
	if body.KeySize != nil {
		bits = *body.KeySize
	}
	if !slices.Contains([]int{2048, 3072, 4096}, bits) {
		return nil, badParameter("Property key_size has invalid value %d. An RSA key has 2048, 3072 or 4096 bits.", bits)
	}
	if body.PublicExponent != nil && *body.PublicExponent != 65537 {
		return nil, badParameter("Property public_exponent has invalid value %d. It is 65537.", *body.PublicExponent)
	}
	if body.KeyOps != nil && len(*body.KeyOps) == 0 {
		body.KeyOps = nil // as in Azure, where an empty list asks for the default
	}
	if err := body.applyTo(&k); err != nil {
		return nil, err
	}
	// A name that is taken is refused before time is spent on a key; insert decides.
	err := v.DB.View(c.Context(), func(tx *store.Tx) error {
		if _, err := findDeletedKey(c.Context(), tx, k.vault, k.name, now); err == nil {
			return keyIsDeleted(k.name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var private []byte
	if k.version, k.public, private, err = generateKey(bits); err != nil {
		return nil, err
	}
	sealed := v.Keyring.Seal(private, privateAAD(k.id())...)
	clear(private)
	return v.update(c, func(ctx context.Context, tx *store.Tx) (*result, error) {
		if _, err := v.current(ctx, tx, c); err != nil {
			return nil, err
		}
		made := k
		if err := made.insert(ctx, tx, sealed, now); err != nil {
			return nil, err
		}
		return &result{http.StatusOK, c.bundle(&made)}, v.versionChanged(ctx, tx, &made)
	})
}

// current reads the vault's properties again inside a change, so that nothing is written into a vault that was deleted
// since the call began, and no key is purged after purge protection was enabled.
func (v *Vaults) current(ctx context.Context, tx *store.Tx, c *call) (*properties, error) {
	found, err := v.findVault(ctx, tx, c.resource.ID.Name())
	if err != nil {
		return nil, err
	}
	if found.properties.ID != c.vault.ID {
		return nil, vaultNotFound(c.resource.ID.Name())
	}
	return &found.properties, nil
}

// version is the path's version; empty for the current one. What is no version is one that does not exist, unless it
// is the name of an operation that is not built.
func (c *call) version() (string, error) {
	version := c.Vars["version"]
	if version == "" || keyVersion.MatchString(version) {
		return version, nil
	}
	if e := notBuilt(c.URL.Path); e != nil {
		return "", e
	}
	return "", keyNotFound(c.Vars["name"], version)
}

func (v *Vaults) getKey(c *call) (*result, error) {
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	k, err := v.key(c.Context(), c.vault.ID, c.Vars["name"], version)
	if err != nil {
		return nil, err
	}
	return &result{http.StatusOK, c.bundle(k)}, nil
}

func (v *Vaults) updateKey(c *call) (*result, error) {
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	var body keyRequest
	if err := c.DecodeJSON("BadParameter", &body); err != nil {
		return nil, err
	}
	return v.update(c, func(ctx context.Context, tx *store.Tx) (*result, error) {
		if _, err := v.current(ctx, tx, c); err != nil {
			return nil, err
		}
		k, err := findKey(ctx, tx, c.vault.ID, c.Vars["name"], version)
		if err != nil {
			return nil, err
		}
		if err := body.applyTo(k); err != nil {
			return nil, err
		}
		k.updated = time.Now()
		if !k.enabled {
			tx.AfterCommit(func() { v.privates.dropKey(k.vault, strings.ToLower(k.name)) })
		}
		if err := k.save(ctx, tx); err != nil {
			return nil, err
		}
		return &result{http.StatusOK, c.bundle(k)}, v.versionChanged(ctx, tx, k)
	})
}

func (v *Vaults) deleteKey(c *call) (*result, error) {
	return v.update(c, func(ctx context.Context, tx *store.Tx) (*result, error) {
		if _, err := v.current(ctx, tx, c); err != nil {
			return nil, err
		}
		k, err := findKey(ctx, tx, c.vault.ID, c.Vars["name"], "")
		if err != nil {
			return nil, err
		}
		k.deleted = time.Now()
		k.purge = k.deleted.Add(c.vault.retention())
		tx.AfterCommit(func() { v.privates.dropKey(k.vault, strings.ToLower(k.name)) })
		_, err = tx.Exec(ctx, `UPDATE keyvault_keys SET deleted = $1, purge = $2 WHERE vault = $3 AND name = $4`,
			store.Micros(k.deleted), store.Micros(k.purge), k.vault, strings.ToLower(k.name))
		if err != nil {
			return nil, err
		}
		return &result{http.StatusOK, c.bundle(k)}, v.keyChanged(ctx, tx)
	})
}

func (v *Vaults) getDeletedKey(c *call) (*result, error) {
	var k *key
	err := v.DB.View(c.Context(), func(tx *store.Tx) (err error) {
		k, err = findDeletedKey(c.Context(), tx, c.vault.ID, c.Vars["name"], time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &result{http.StatusOK, c.bundle(k)}, nil
}

func (v *Vaults) recoverKey(c *call) (*result, error) {
	return v.update(c, func(ctx context.Context, tx *store.Tx) (*result, error) {
		if _, err := v.current(ctx, tx, c); err != nil {
			return nil, err
		}
		k, err := findDeletedKey(ctx, tx, c.vault.ID, c.Vars["name"], time.Now())
		if err != nil {
			return nil, err
		}
		k.deleted, k.purge = time.Time{}, time.Time{}
		_, err = tx.Exec(ctx, `UPDATE keyvault_keys SET deleted = 0, purge = 0 WHERE vault = $1 AND name = $2`, k.vault, strings.ToLower(k.name))
		return &result{http.StatusOK, c.bundle(k)}, err
	})
}

func (v *Vaults) purgeKey(c *call) (*result, error) {
	return v.update(c, func(ctx context.Context, tx *store.Tx) (*result, error) {
		now := time.Now()
		k, err := findDeletedKey(ctx, tx, c.vault.ID, c.Vars["name"], now)
		if err != nil {
			return nil, err
		}
		vault, err := v.current(ctx, tx, c)
		if err != nil {
			return nil, err
		}
		if vault.PurgeProtection {
			return nil, forbidden("ForbiddenByPolicy", "Operation \"purge\" is not allowed because purge protection is enabled for this vault. "+
				"Key Vault service will automatically purge it after the retention period has passed.\r\nVault: %s", c.vaultAndLocation())
		}
		if _, err := tx.Exec(ctx, `UPDATE keyvault_keys SET purge = $1 WHERE vault = $2 AND name = $3`, store.Micros(now), k.vault, strings.ToLower(k.name)); err != nil {
			return nil, err
		}
		return &result{status: http.StatusNoContent}, eraseExpired(ctx, tx, now)
	})
}

// A page of a list has at most 25 keys, and as many when the client does not say.
const maxResults = 25

// page is a request's place in a list.
type page struct {
	size  int
	after string // the last entry of the page before
}

func (c *call) page() (page, error) {
	p := page{size: maxResults}
	query := c.URL.Query()
	if s := query.Get("maxresults"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxResults {
			return p, badParameter("Parameter maxresults has invalid value '%s'. It is a number from 1 to %d.", s, maxResults)
		}
		p.size = n
	}
	if s := query.Get("$skiptoken"); s != "" {
		after, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || !keyName.Match(after) {
			return p, badParameter("Parameter $skiptoken has invalid value '%s'. Take it from the nextLink of the page before.", s)
		}
		p.after = string(after)
	}
	return p, nil
}

// list answers with the keys that query returns, at most a page of them. The query ends in a condition on what stands
// before after($n), whose place is the number of args plus one, and has one row more than the page when more follow.
func (v *Vaults) list(c *call, query string, args []any, show func(*key) *keyBundle, cursor func(*key) string) (*result, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	var after any = p.after
	if strings.Contains(query, "v.serial >") {
		if after, err = strconv.ParseInt("0"+p.after, 10, 64); err != nil {
			return nil, badParameter("Parameter $skiptoken is not of this list. Take it from the nextLink of the page before.")
		}
	}
	var keys []*key
	err = v.DB.View(c.Context(), func(tx *store.Tx) error {
		keys = nil
		rows, err := tx.Query(c.Context(), query+` LIMIT `+strconv.Itoa(p.size+1), append(args, after)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			k, err := scanKey(rows)
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	answer := struct {
		Value    []*keyBundle `json:"value"`
		NextLink *string      `json:"nextLink"`
	}{Value: []*keyBundle{}}
	if len(keys) > p.size {
		keys = keys[:p.size]
		next := c.urls.Vault(strings.ToLower(c.resource.ID.Name())) + c.URL.EscapedPath() + "?api-version=" + url.QueryEscape(c.apiVersion) +
			"&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(cursor(keys[p.size-1]))) + "&maxresults=" + strconv.Itoa(p.size)
		answer.NextLink = &next
	}
	for _, k := range keys {
		answer.Value = append(answer.Value, show(k))
	}
	return &result{http.StatusOK, answer}, nil
}

func (v *Vaults) listKeys(c *call) (*result, error) {
	return v.list(c, selectKey+`WHERE k.vault = $1 AND k.deleted = 0 AND v.serial = k.serial AND k.name > $2 ORDER BY k.name`, []any{c.vault.ID},
		func(k *key) *keyBundle { return c.item(k, c.baseID("keys", k)) },
		func(k *key) string { return strings.ToLower(k.name) })
}

func (v *Vaults) listDeletedKeys(c *call) (*result, error) {
	return v.list(c, selectKey+`WHERE k.vault = $1 AND k.deleted > 0 AND k.purge > $2 AND v.serial = k.serial AND k.name > $3 ORDER BY k.name`,
		[]any{c.vault.ID, store.Micros(time.Now())},
		func(k *key) *keyBundle { return c.item(k, c.baseID("keys", k)) },
		func(k *key) string { return strings.ToLower(k.name) })
}

func (v *Vaults) listVersions(c *call) (*result, error) {
	return v.list(c, selectKey+`WHERE k.vault = $1 AND k.name = $2 AND k.deleted = 0 AND v.serial > $3 ORDER BY v.serial`,
		[]any{c.vault.ID, strings.ToLower(c.Vars["name"])},
		func(k *key) *keyBundle { return c.item(k, c.kid(k)) },
		func(k *key) string { return strconv.FormatInt(k.serial, 10) })
}
