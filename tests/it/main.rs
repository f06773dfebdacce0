//! The one integration binary: a module per feature, driven as a user would.

mod contract;
mod deliveries;
mod evil_endpoints;
mod settings;
mod slow_clients;
mod support;
