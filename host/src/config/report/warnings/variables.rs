//! Warnings about variables of the environment.

use crate::base::nearest;
use crate::config::{COMMAND_LINE_VARIABLES, Config, ValueOrigin};

impl Config {
    /// Warns of variables with the prefix that resemble no key: a container image may have some of its own.
    pub(in crate::config) fn warn_of_variables(&self, warnings: &mut Vec<String>) {
        for name in &self.stray_variables {
            let nearest = nearest(name, COMMAND_LINE_VARIABLES, 1);
            let nearest = nearest.first().filter(|known| strsim::osa_distance(name, known) <= 2);
            let nearest = nearest.map_or_else(String::new, |known| format!("; the nearest is {known}"));
            warnings.push(format!(
                "{} resembles no key of the config, and is ignored{nearest}",
                ValueOrigin::Variable(name.clone())
            ));
        }
    }
}
