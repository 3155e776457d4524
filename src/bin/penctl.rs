//! The `penctl` program; see `pen::cli::control`.

fn main() -> std::process::ExitCode {
    pen::cli::control::main()
}
