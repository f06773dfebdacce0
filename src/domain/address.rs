//! URLs and addresses that may be delivered to.
