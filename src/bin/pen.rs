//! The `pen` program; see `pen::cli::balancer`.

fn main() -> std::process::ExitCode {
    pen::cli::balancer::main()
}
