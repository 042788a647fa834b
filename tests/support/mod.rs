//! What tests on real containers share. Each test file takes what it needs.
#![allow(dead_code)]

pub mod docker;
