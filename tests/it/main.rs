//! The one integration binary: a module per feature, driven as a user would.

mod attempts;
mod contract;
mod deliveries;
mod evil_endpoints;
mod inboxes;
mod layers;
mod settings;
mod slow_clients;
mod support;
