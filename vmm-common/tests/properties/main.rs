//! Properties of the shared core's pure parts: whatever goes in, nothing panics, and what comes out
//! keeps its promises. A failure prints the smallest input found and how to get there again.

mod boot;
mod displays;
mod pack;
mod plans;
mod runner;
mod scheduler;
mod seed_file;
mod siblings;
