//! The step `admin`: the Administrator's password, and a first user who may do all in the site.
//!
//! Done once: a password that somebody changed later is theirs.

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::job::{COMMAND_LIMIT, Job, Order};
use super::journal::Thing;
use super::secrets::Secret;
use super::step::{Standing, Step, StepName};
use crate::component::bench::Program;
use crate::error::Result;

const PASSWORD: &str = "password";
const ADMINISTRATOR: &str = "Administrator";

const SET: &str = r#"
from frappe.utils.password import update_password
update_password("Administrator", SECRETS["administrator"])
email = ARGS["email"]
if email:
    if frappe.db.exists("User", email):
        user = frappe.get_doc("User", email)
    else:
        user = frappe.new_doc("User")
        user.update({"email": email, "first_name": ARGS["first_name"], "last_name": ARGS["last_name"],
                     "enabled": 1, "send_welcome_email": 0})
        user.insert()
    user.add_roles("System Manager")
    update_password(email, SECRETS["first_user"])
frappe.db.commit()
answer(True)
"#;

const LOOK: &str = r#"
email = ARGS["email"]
answer({"user": bool(email) and bool(frappe.db.exists("User", email)),
        "role": bool(email) and "System Manager" in frappe.get_roles(email)})
"#;

/// The step.
#[derive(Debug)]
pub struct Admin;

#[async_trait]
impl Step for Admin {
    fn name(&self) -> StepName {
        StepName::Admin
    }

    fn sentence(&self, order: &Order) -> String {
        let user = match email(order) {
            Some(email) => format!(", and user {email} as System Manager"),
            None => String::new(),
        };
        let folder = order.folder.secrets();
        format!("the Administrator's password{user}; both passwords stand in {}", folder.display())
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        order.snapshot().map(|snapshot| format!("accounts come with snapshot {snapshot}"))
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        if job.is_from_snapshot() {
            return Ok(Standing::Done);
        }
        if !job.journal.is_made(StepName::Admin, PASSWORD, ADMINISTRATOR) {
            return Ok(Standing::missing("the Administrator's password"));
        }
        let Some(email) = email(&job.order) else { return Ok(Standing::Done) };
        let found = job.bench().python(program(&job.order, "look at its users", LOOK, json!({}))).await?;
        Ok(match (&found["user"], &found["role"]) {
            (Value::Bool(true), Value::Bool(true)) => Standing::Done,
            (Value::Bool(true), _) => Standing::differs(format!("user {email} is no System Manager")),
            _ => Standing::missing(format!("user {email}")),
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let administrator = job.order.secret(Secret::Administrator)?;
        let first_user = job.order.secret(Secret::FirstUser)?;
        let secrets = json!({
            "administrator": administrator.expose_secret(), "first_user": first_user.expose_secret(),
        });
        let bench = job.bench();
        let set = bench.python(program(&job.order, "set the administrator", SET, secrets));
        job.make(StepName::Admin, Thing::new(PASSWORD, ADMINISTRATOR), set).await.map(drop)
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        // Both go with the site's database.
        job.unmake(StepName::Admin, |_| async { Ok(()) }).await
    }
}

fn email(order: &Order) -> Option<String> {
    order.setup().ok()?.email
}

fn program<'a>(order: &Order, what: &'a str, text: &'a str, secrets: Value) -> Program<'a> {
    let setup = order.setup().unwrap_or_default();
    let name = setup.full_name.clone().or_else(|| setup.email.clone()).unwrap_or_default();
    let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
    let args = json!({ "email": setup.email.unwrap_or_default(), "first_name": first, "last_name": last });
    Program { what, text, args, secrets, limit: COMMAND_LIMIT }
}
