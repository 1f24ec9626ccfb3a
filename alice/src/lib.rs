//! The data holder: segments a scan with a provider's network.
