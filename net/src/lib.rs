//! Authenticated transport: TCP, TLS 1.3 with pinned certificates, keys.
