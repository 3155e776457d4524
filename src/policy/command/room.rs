//! Memory for what commands will put into the tables, taken before any of them is applied: commands that lack it are refused, and
//! change nothing. Without this the process would be aborted in the middle of them.

use std::collections::TryReserveError;

use super::Command;
use super::setting::{Touches, Value};
use crate::id::AclId;
use crate::policy::acl::Acl;
use crate::policy::balancer::Balancer;

impl Balancer {
    /// Has the memory ready that the tables need when these commands are applied. Returns how many sessions there may then be at
    /// once, if one of them says that. The error names the command for which there is too little.
    pub fn make_room(&mut self, commands: &[Command]) -> Result<Option<usize>, String> {
        let mut sessions = None;
        let mut entries = [0; AclId::COUNT];
        for command in commands {
            if let Command::Set(setting, Value::Number(number)) = command {
                if setting.touches == Touches::Sessions {
                    sessions = sessions.max(Some(*number as usize));
                }
            }
            if let Err(_lack) = self.make_room_for(command, &mut entries) {
                self.clients.shrink_to_fit();
                return Err(not_enough(command));
            }
        }
        Ok(sessions)
    }

    /// Gives back what the lists do not need after all commands of a load.
    pub fn settle_lists(&mut self) {
        self.acls.iter_mut().for_each(Acl::settle);
    }

    fn make_room_for(&mut self, command: &Command, entries: &mut [usize; AclId::COUNT]) -> Result<(), TryReserveError> {
        match command {
            Command::Acl { list, .. } => {
                entries[list.index()] += 1;
                self.acls[list.index()].try_reserve(entries[list.index()])
            }
            Command::Server(id, _) => self.servers.try_reserve((id.index() + 1).saturating_sub(self.servers.len())),
            Command::Set(setting, Value::Number(number)) => match setting.touches {
                Touches::Clients => self.clients.try_reserve(*number as usize),
                Touches::Sessions => self.connections.try_reserve(*number as usize),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The error for a command whose table does not fit into the memory.
pub fn not_enough(command: impl std::fmt::Display) -> String {
    format!("{command}: not enough memory")
}
