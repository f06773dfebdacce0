//! The one integration binary: a module per feature, driven as a user would.

mod evil_endpoints;
mod settings;
mod slow_clients;
mod store_crashes;
mod store_files;
mod store_model;
mod support;
