"""The certificate authority of one trust domain: its root, two slots of signing CAs, and the SVIDs they issue.

`root` generates a root or judges one that a user brings, `certificates` builds X.509 as the SPIFFE standard asks,
`state` is what must survive a restart, `authority` puts them together, `root_changes` leads from one root to the next,
`bundle` and `svid_files` are what others read.
When something is renewed or changed is decided by `tollway.identity.rotation` and `tollway.identity.root_change`, who
gets which identity by the callers of `Authority`; neither belongs here.
"""
