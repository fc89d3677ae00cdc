package keyvault

import (
	"container/list"
	"crypto/rsa"
	"sync"
)

// keyID names one version of a key.
type keyID struct{ vault, name, version string } // name in lower case

// privateKeys keeps the private keys that were used last, parsed and with their CRT values. It decides nothing: whether
// a key may be used is read from the database every time.
type privateKeys struct {
	mu    sync.Mutex
	size  int
	byID  map[keyID]*list.Element // of privateKey
	order *list.List              // most recently used first
	drops uint64                  // how often keys were dropped
}

type privateKey struct {
	id  keyID
	key *rsa.PrivateKey
}

func newPrivateKeys(size int) *privateKeys {
	return &privateKeys{size: size, byID: map[keyID]*list.Element{}, order: list.New()}
}

// get returns a key, or nil and what put needs to know.
func (p *privateKeys) get(id keyID) (key *rsa.PrivateKey, drops uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[id]; e != nil {
		p.order.MoveToFront(e)
		return e.Value.(privateKey).key, p.drops
	}
	return nil, p.drops
}

// put keeps a key that was read after get, unless keys were dropped since: it may have been one of them.
func (p *privateKeys) put(id keyID, key *rsa.PrivateKey, drops uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID[id] != nil || p.drops != drops {
		return
	}
	p.byID[id] = p.order.PushFront(privateKey{id, key})
	if p.order.Len() > p.size {
		p.remove(p.order.Back())
	}
}

func (p *privateKeys) remove(e *list.Element) {
	delete(p.byID, e.Value.(privateKey).id)
	p.order.Remove(e)
}

func (p *privateKeys) drop(match func(keyID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops++
	for id, e := range p.byID {
		if match(id) {
			p.remove(e)
		}
	}
}

// dropKey forgets every version of a key.
func (p *privateKeys) dropKey(vault, name string) {
	p.drop(func(id keyID) bool { return id.vault == vault && id.name == name })
}

// dropVault forgets every key of a vault.
func (p *privateKeys) dropVault(vault string) {
	p.drop(func(id keyID) bool { return id.vault == vault })
}
