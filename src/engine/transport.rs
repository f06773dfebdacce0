//! Deliveries over the network.
