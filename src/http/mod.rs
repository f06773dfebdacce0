//! What the faces share: server loop, limits, authentication, bodies, errors.

pub mod answer;
pub mod assets;
pub mod auth;
pub mod body;
pub mod cookies;
pub mod cors;
pub mod endpoint_input;
pub mod fallback;
pub mod fixed;
pub mod inbox_input;
pub mod json;
pub mod origin;
pub mod page;
pub mod paging;
pub mod path;
pub mod problem;
pub mod server;
pub mod sign_in_limits;
pub mod source_input;
pub mod state;
