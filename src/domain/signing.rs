//! Signatures, made and checked.
