mod buildspec;
mod reports;
mod state;
