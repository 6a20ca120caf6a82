//! Histories of a machine with scripted workers around it.

mod acts;
mod blame;
mod coming;
mod data;
mod elastic;
mod hanging;
mod keeping;
mod names;
mod property;
mod restoring;
mod scenarios;
mod sim;
mod training;
mod worker;
