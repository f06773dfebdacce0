//! The one integration binary: a module per feature, driven as a user would.

mod api_keys;
mod attempts;
mod batches;
mod browsing;
#[cfg(unix)]
mod command_line;
mod contract;
#[cfg(unix)]
mod crash_loop;
mod dashboard;
mod deliveries;
#[cfg(unix)]
mod disk_full;
#[cfg(unix)]
mod docs;
mod environments;
mod erasing;
mod event_types;
mod evil_endpoints;
mod field_rules;
mod guard;
mod hostile;
mod inboxes;
mod isolation;
#[cfg(unix)]
mod job_commands;
#[cfg(unix)]
mod job_crash;
mod jobs;
mod layers;
mod listen_client;
mod listen_secret;
mod logs;
mod openapi;
mod operational_events;
mod payload_forms;
mod presets;
mod python_verification;
mod relay;
#[cfg(unix)]
mod relay_end_to_end;
mod requests;
mod restarts;
mod rotation;
mod scopes;
mod secrets;
mod seen_events;
mod settings;
mod simulation;
#[cfg(feature = "mutants")]
mod simulation_mutants;
mod slow_clients;
mod sources;
mod statistics;
mod stopped_keys;
mod store_crashes;
mod store_files;
mod store_model;
mod support;
#[cfg(unix)]
mod tail;
#[cfg(unix)]
mod trigger;
