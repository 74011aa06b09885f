"""CI jobs sign in with the id-token of their CI system: no stored secret (docs/identity.md).

`policies` says whom the service believes, `issuers` has their keys (fetched by `fetching`), `idtokens` verifies,
`exchange` hands out an access token of a pipeline.
"""
