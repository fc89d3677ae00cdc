// Package keyvault is Microsoft.KeyVault: vaults in the resource manager, and the keys in their data plane.
//
// [Vaults.Provider] goes to the resource manager, [Vaults.Handler] serves https://{vault}.vault.{domain}.
//
// # Invariants
//
//   - A private key exists in the clear only in memory: its row holds PKCS#8 sealed under associated data that names
//     the vault, the key and the version, so a row moved elsewhere does not open. No operation returns it.
//   - Vaults and keys that were used are kept in memory, as package rowcache does it: what this process changes of them,
//     a key disabled or deleted, an access policy, a firewall rule, a vault that is deleted, decides its next request;
//     what another node changes is seen within 5 s, and a node that cannot ask for changes answers nothing. A key's time
//     window is compared with the clock on each request. A change of a key whose outcome is unknown is looked up before
//     the next use. A role that was taken away decides as package rbac promises.
//   - Private keys that were opened are kept parsed, 256 at most, and decide nothing; those of a key that is disabled or
//     deleted, or of a vault that is deleted, are dropped at once (on another node when the key is next asked for).
//   - Nothing is answered that is not in the audit log: the record is durable before the answer is written, and when
//     it cannot be written the answer is 500 without the result. Refused tokens are counted by vault and operation, so
//     that nobody without one makes the log grow; requests without any token are not recorded.
//   - A vault's name, and a key's, is taken from its creation until it is purged. Purge protection stops every purge
//     but the one at the end of the retention period, and cannot be turned off.
//   - Every right in the data plane comes from a role assignment (enableRbacAuthorization) or an access policy, never
//     from owning the vault.
//
// # Crash behaviour
//
// Each change of a key is one transaction with its record. A crash before its commit leaves neither; after it, both
// stand though the client may not have its answer. When a commit's answer was lost, a second record tells of the failure
// that the client saw. What the resource manager does with a vault is recorded as package arm says.
// Creating a key again makes another version; deleting a deleted key is 404 KeyNotFound, recovering a recovered one
// too: clients that retry see from the answer that the first attempt took effect. What is past its retention period
// is treated as gone at once, and is erased by a sweep that any number of nodes may run.
//
// # Specification
//
// Azure Key Vault REST API 7.0 to 7.6, 2025-07-01 and 2026-04-01 (keys), Microsoft.KeyVault resource provider
// 2016-10-01 to 2026-04-01; RFC 7518 for the algorithms. Answers follow recordings of the service that come with
// github.com/Azure/azure-sdk-for-go/sdk/keyvault/azkeys v0.8.1.
//
// # Divergences
//
//   - Built: RSA keys of 2048, 3072 and 4096 bits. EC and oct keys, import, backup, rotation, release, secrets and
//     certificates answer 400 or 404 and say so.
//   - RSA-HSM keys are made in premium vaults and refused in standard ones, as in Azure, but no hardware stands behind
//     them beyond what holds the server's root key.
//   - Deletion and recovery are done when they are answered; Azure takes some seconds.
//   - What a PUT of a vault leaves out stays as it was: a template without networkAcls does not open the firewall.
//   - "all" in an access policy does not include purge, which has to be named.
//   - ipRules take IPv6 too. virtualNetworkRules are stored and match nothing. networkAcls needs a defaultAction.
//   - A vault belongs to the server's one tenant.
//   - A refusal by a deny assignment names it and says "DecisionReason: null": the service's own word is not documented.
package keyvault
