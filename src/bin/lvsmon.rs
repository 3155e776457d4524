//! The `lvsmon` program; see `pen::cli::lvsmon`.

fn main() -> std::process::ExitCode {
    pen::cli::lvsmon::main()
}
