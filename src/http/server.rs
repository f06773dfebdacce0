//! The server loop.
