//! The `mergelogs` program; see `pen::cli::mergelogs`.

fn main() -> std::process::ExitCode {
    pen::cli::mergelogs::main()
}
