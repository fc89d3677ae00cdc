package keyvault

import (
	"container/list"
	"crypto/rsa"
	"sync"
)

// keyID names one version of a key.
type keyID struct{ vault, name, version string } // name in lower case

// privateKeys keeps the private keys that were used last, parsed and with their CRT values. It decides nothing: a key's
// row says whether it may be used.
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

// dropped is what put needs to know from before the key was found fit for use.
func (p *privateKeys) dropped() (drops uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drops
}

// get returns a key, or nil.
func (p *privateKeys) get(id keyID) *rsa.PrivateKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[id]; e != nil {
		p.order.MoveToFront(e)
		return e.Value.(privateKey).key
	}
	return nil
}

// put keeps a key, unless keys were dropped since drops was asked for: it may have been one of them.
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
