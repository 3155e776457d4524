//! The `penctl` program; see `pen::cli::penctl`.

fn main() -> std::process::ExitCode {
    pen::cli::penctl::main()
}
