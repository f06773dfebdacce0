//! The one integration binary: a module per feature, driven as a user would.

#[cfg(unix)]
mod command_line;
mod deliveries;
mod evil_endpoints;
mod field_rules;
mod guard;
mod hostile;
mod python_verification;
mod restarts;
mod scopes;
mod secrets;
mod settings;
mod slow_clients;
mod support;
