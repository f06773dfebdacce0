//! The one integration binary: a module per feature, driven as a user would.

mod attempts;
#[cfg(unix)]
mod command_line;
mod contract;
mod deliveries;
mod evil_endpoints;
mod inboxes;
mod layers;
mod python_verification;
mod restarts;
mod settings;
mod slow_clients;
mod support;
