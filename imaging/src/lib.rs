//! Scans and pictures: read, resample, normalise, write, overlay.
