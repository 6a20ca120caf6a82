//! The ledger's promises, as properties.

#![cfg(test)]

mod audit;
mod audit_elastic;
mod audit_faults;
mod digests;
mod history;
mod lineage;
mod order;
mod packed_page;
mod reports;
mod share;
mod support;
mod table;
