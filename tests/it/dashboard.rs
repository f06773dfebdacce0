//! The dashboard and the portal: who may come in, who sees what, and what is
//! shown of what strangers wrote.

mod access;
mod browser;
mod corpus;
mod inboxes;
mod journey;
mod relay;
mod requests;
mod sources;
mod viewers;
