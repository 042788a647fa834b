"""App double: the tables of a fresh site: few, with the real names, columns and kinds.

Each DocType is declared once; its table and its rows in `tabDocType` and `tabDocField` follow. What makes a real
site hard to back up is there: names with spaces, sequences, MyISAM with a full-text index, compressed rows.
"""
import json

import frappe
from frappe import generate_hash
from frappe.database import quoted
from frappe.utils import now

TYPES = {
    "Check": "int(1) NOT NULL DEFAULT 0", "Int": "int(11) NOT NULL DEFAULT 0", "Date": "date DEFAULT NULL",
    "Datetime": "datetime(6) DEFAULT NULL", "Text": "text DEFAULT NULL", "Small Text": "text DEFAULT NULL",
    "Password": "text DEFAULT NULL", "Attach": "text DEFAULT NULL", "Attach Image": "text DEFAULT NULL",
    "Code": "longtext DEFAULT NULL", "HTML Editor": "longtext DEFAULT NULL", "Long Text": "longtext DEFAULT NULL",
    "Currency": "decimal(21,9) NOT NULL DEFAULT 0.000000000", "Float": "decimal(21,9) NOT NULL DEFAULT 0.000000000",
}
STANDARD = ("`name` {name} NOT NULL, `creation` datetime(6) DEFAULT NULL, `modified` datetime(6) DEFAULT NULL, "
            "`modified_by` varchar(140) DEFAULT NULL, `owner` varchar(140) DEFAULT NULL, "
            "`docstatus` int(1) NOT NULL DEFAULT 0, `idx` int(8) NOT NULL DEFAULT 0")
CHILD = (", `parent` varchar(140) DEFAULT NULL, `parentfield` varchar(140) DEFAULT NULL, "
         "`parenttype` varchar(140) DEFAULT NULL")
CHARSET = "DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"

# What is not a document, and the two tables that tell what a document is.
FRAMEWORK = [
    "CREATE TABLE `tabSingles` (`doctype` varchar(255) DEFAULT NULL, `field` varchar(255) DEFAULT NULL, "
    "`value` longtext DEFAULT NULL, KEY `singles_doctype_field_index` (`doctype`,`field`)) ENGINE=InnoDB "
    "ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `tabSeries` (`name` varchar(100) NOT NULL, `current` int(10) NOT NULL DEFAULT 0, "
    "PRIMARY KEY (`name`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `__Auth` (`doctype` varchar(140) NOT NULL, `name` varchar(255) NOT NULL, `fieldname` varchar(140) "
    "NOT NULL, `password` text NOT NULL, `encrypted` int(1) NOT NULL DEFAULT 0, "
    "PRIMARY KEY (`doctype`,`name`,`fieldname`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `__UserSettings` (`user` varchar(180) NOT NULL, `doctype` varchar(180) NOT NULL, `data` text "
    "DEFAULT NULL, UNIQUE KEY `user` (`user`,`doctype`)) ENGINE=InnoDB",
    "CREATE TABLE `__global_search` (`doctype` varchar(100) DEFAULT NULL, `name` varchar(140) DEFAULT NULL, "
    "`title` varchar(140) DEFAULT NULL, `content` text DEFAULT NULL, `route` varchar(140) DEFAULT NULL, "
    "`published` int(1) NOT NULL DEFAULT 0, UNIQUE KEY `doctype_name` (`doctype`,`name`), "
    "FULLTEXT KEY `content` (`content`)) ENGINE=MyISAM",
    "CREATE TABLE `tabSessions` (`user` varchar(255) DEFAULT NULL, `sid` varchar(255) DEFAULT NULL, `sessiondata` "
    "longtext DEFAULT NULL, `ipaddress` varchar(16) DEFAULT NULL, `lastupdate` datetime(6) DEFAULT NULL, `status` "
    "varchar(20) DEFAULT NULL, KEY `sid` (`sid`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `tabDocType` (" + STANDARD.format(name="varchar(255)") + ", `issingle` int(1) NOT NULL DEFAULT 0, "
    "`istable` int(1) NOT NULL DEFAULT 0, `module` varchar(140) DEFAULT NULL, `autoname` varchar(140) DEFAULT NULL, "
    "PRIMARY KEY (`name`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `tabDocField` (" + STANDARD.format(name="varchar(255)") + CHILD + ", `fieldname` varchar(140) "
    "DEFAULT NULL, `label` varchar(140) DEFAULT NULL, `fieldtype` varchar(140) DEFAULT 'Data', `options` text DEFAULT "
    "NULL, `reqd` int(1) NOT NULL DEFAULT 0, `default` text DEFAULT NULL, PRIMARY KEY (`name`), KEY `parent` "
    "(`parent`)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE `tabDefaultValue` (" + STANDARD.format(name="varchar(255)") + CHILD + ", `defvalue` text DEFAULT "
    "NULL, `defkey` varchar(140) DEFAULT NULL, PRIMARY KEY (`name`), KEY `parent` (`parent`)) ENGINE=InnoDB "
    "ROW_FORMAT=DYNAMIC",
    "CREATE SEQUENCE `web_form_list_column_id_seq` START WITH 1 NOCACHE",
]

# A line a field: `name Type`, `!` when mandatory, `=default`, `(options, comma between)`.
SOCIAL = "Custom,Facebook,Frappe,GitHub,Google,Office 365,Salesforce,fairlogin,Keycloak"
FRAPPE = {
    "Role": ("field:role_name", "role_name Data!;disabled Check;is_custom Check;desk_access Check=1"),
    "Has Role": ("child", "role Link(Role)"),
    "User": ("", "enabled Check=1;email Data!;first_name Data!;middle_name Data;last_name Data;full_name Data;"
                 "username Data;language Data;time_zone Data;send_welcome_email Check=1;user_image Attach Image;"
                 "new_password Password;user_type Data=System User;last_login Data;last_active Datetime;"
                 "api_key Data;api_secret Password;roles Table(Has Role)"),
    "File": ("hash", "file_name Data;is_private Check;file_url Code;file_size Int;file_type Data;is_folder Check;"
                     "is_home_folder Check;is_attachments_folder Check;folder Data;attached_to_doctype Data;"
                     "attached_to_name Data;attached_to_field Data;content_hash Data"),
    "Social Login Key": ("", f"enable_social_login Check;social_login_provider Select=Custom({SOCIAL});client_id Data;"
                             "provider_name Data!;client_secret Password;icon Data;base_url Data;"
                             "sign_ups Select(,Allow,Deny);authorize_url Data;access_token_url Data;redirect_url Data;"
                             "api_endpoint Data;custom_base_url Check;api_endpoint_args Code;auth_url_data Code;"
                             "user_id_property Data"),
    "Email Account": ("field:email_account_name", "email_account_name Data;email_id Data!;password Password;"
                      "smtp_server Data;enable_incoming Check;enable_outgoing Check"),
    "Webhook": ("prompt", "webhook_doctype Data;request_url Data;enabled Check=1;webhook_secret Password"),
    "Letter Head": ("field:letter_head_name", "letter_head_name Data!;source Select=Image(Image,HTML);"
                    "footer_source Select=HTML(Image,HTML);disabled Check;is_default Check;image Attach Image;"
                    "image_height Float;image_width Float;align Select=Left(Left,Right,Center);content HTML Editor;"
                    "footer HTML Editor"),
    "Website Theme": ("field:theme", "theme Data!;module Data=Website;custom Check=1;primary_color Data;"
                      "custom_scss Code;theme_url Data"),
    "Navbar Item": ("child", "item_label Data;item_type Select=Route(Route,Action,Separator);route Data;action Data;"
                    "hidden Check;is_standard Check"),
    "Installed Application": ("child", "app_name Data!;app_version Data!;git_branch Data;has_setup_wizard Check;"
                              "is_setup_complete Check"),
    "Scheduled Job Type": ("", "stopped Check;method Data!;frequency Data;cron_format Data;create_log Check;"
                           "last_execution Datetime"),
    "Version": ("hash compressed", "ref_doctype Data;docname Data;data Code"),
    "Error Log": ("hash myisam", "method Data;error Code;seen Check"),
    "Data Import Log": ("hash myisam", "messages Code;success Check"),
    "Web Form List Column": ("autoincrement child", "fieldname Data;label Data"),
    "Patch Log": ("hash", "patch Code;skipped Check"),
    "System Settings": ("single", "app_name Data=Frappe;country Link(Country);language Link!=en(Language);"
                        "time_zone Data!=UTC;currency Link(Currency);date_format Data=yyyy-mm-dd;"
                        "time_format Data=HH:mm:ss;number_format Data;float_precision Data=3;session_expiry Data=170:00;"
                        "setup_complete Check;disable_user_pass_login Check;enable_password_policy Check=1;"
                        "minimum_password_score Data=2;email_footer_address Small Text;"
                        "disable_standard_email_footer Check;backup_limit Int=3;encrypt_backup Check;"
                        "enable_scheduler Check;enable_telemetry Check;enable_two_factor_auth Check;enable_onboarding Check"),
    "Website Settings": ("single", "home_page Data;title_prefix Data;app_name Data=Frappe;disable_signup Check;"
                         "app_logo Attach Image;website_theme Link=Standard(Website Theme);banner_image Attach Image;"
                         "splash_image Attach Image;brand_html Code;favicon Attach;hide_login Check;banner_html Code;"
                         "copyright Data;footer_logo Attach Image;hide_footer_signup Check;address HTML Editor;"
                         "footer_powered Small Text;head_html Code;robots_txt Code"),
    "Navbar Settings": ("single", "app_logo Attach Image;settings_dropdown Table(Navbar Item);"
                        "help_dropdown Table(Navbar Item)"),
    "Installed Applications": ("single", "installed_applications Table(Installed Application)"),
    "Portal Settings": ("single", "default_role Link(Role);default_portal_home Data"),
}
ERPNEXT = {
    "Company": ("field:company_name", "company_name Data!;abbr Data!;default_currency Link!(Currency);"
                "country Link!(Country);chart_of_accounts Data;domain Data;company_logo Attach Image;"
                "default_letter_head Link(Letter Head);date_of_establishment Date;phone_no Data;email Data;website Data"),
    "Account": ("", "account_name Data!;company Link!(Company);root_type Data;account_type Data;is_group Check;"
                "account_currency Link(Currency);parent_account Link(Account)"),
    "Fiscal Year": ("field:year", "year Data!;year_start_date Date!;year_end_date Date!;disabled Check"),
    "Customer": ("field:customer_name", "customer_name Data!;customer_type Data=Company;territory Data"),
    "Sales Invoice Item": ("child", "item_code Data;qty Float;rate Currency;amount Currency"),
    "Sales Invoice": ("hash", "customer Link!(Customer);company Link!(Company);posting_date Date;net_total Currency;"
                      "grand_total Currency;status Data=Draft;remarks Small Text;items Table(Sales Invoice Item)"),
    "GL Entry": ("hash", "posting_date Date;account Link(Account);debit Currency;credit Currency;voucher_type Data;"
                 "voucher_no Data;company Link(Company);is_cancelled Check"),
    "Bisect Nodes": ("autoincrement", "period_from_date Datetime;profit_loss_summary Float"),
    "Global Defaults": ("single", "default_company Link(Company);country Link(Country);default_currency "
                        "Link=INR(Currency);demo_company Link(Company);current_fiscal_year Link(Fiscal Year)"),
}
ROLES = ("Administrator", "All", "Guest", "Desk User", "System Manager", "Website Manager", "Accounts Manager",
         "Accounts User", "Sales Manager", "Sales User", "Stock Manager", "Purchase Manager", "Customer")
SCHEDULED = (("email.queue.flush", "All"), ("utils.global_search.sync_global_search", "All"),
             ("model.utils.link_count.update_link_count", "Hourly"), ("sessions.clear_expired_sessions", "Daily"),
             ("core.doctype.log_settings.run_log_clean_up", "Daily Long"))


def field(text):
    """`name Type!=default(options)` as (name, type, mandatory, default, options)."""
    text, _, options = text.rstrip(")").partition("(")
    text, _, default = text.partition("=")
    name, _, kind = text.partition(" ")
    reqd = kind.endswith("!")
    kind = kind.rstrip("!")
    return name, kind, reqd, default, options.replace(",", "\n") if kind == "Select" else options


def create(declared, module):
    """Makes the tables, and tells `tabDocType` and `tabDocField` of them."""
    for doctype, (traits, text) in declared.items():
        words = traits.split()
        fields = [field(t) for t in text.split(";")]
        single, child = "single" in words, "child" in words
        autoname = next((w for w in words if w.startswith("field:") or w in ("hash", "prompt", "autoincrement")), "")
        if not single:
            frappe.db.sql(table(doctype, fields, words, child))
        if autoname == "autoincrement" and doctype != "Web Form List Column":
            frappe.db.sql(f"CREATE SEQUENCE `{frappe.scrub(doctype)}_id_seq` START WITH 1 NOCACHE")
        frappe.db.insert("DocType", row(name=doctype, issingle=int(single), istable=int(child), module=module,
                                        autoname=autoname))
        for idx, (name, kind, reqd, default, options) in enumerate(fields, 1):
            frappe.db.insert("DocField", row(
                parent=doctype, parenttype="DocType", parentfield="fields", idx=idx, fieldname=name,
                label=name.replace("_", " ").title(), fieldtype=kind, options=options or None, reqd=int(reqd),
                default=default or None))


def table(doctype, fields, words, child):
    name = "bigint(20)" if "autoincrement" in words else "varchar(140)"
    engine = "InnoDB ROW_FORMAT=DYNAMIC"
    if "myisam" in words:
        engine = "MyISAM"
    if "compressed" in words:
        engine = "InnoDB ROW_FORMAT=COMPRESSED"
    columns = "".join(f", {quoted(n)} {TYPES.get(k, 'varchar(140) DEFAULT NULL')}" for n, k, *_ in fields
                      if not k.startswith("Table"))
    # A role is held as a child of a user, an item of an invoice: found by the parent.
    keys = ", PRIMARY KEY (`name`), " + ("KEY `parent` (`parent`)" if child else "KEY `modified` (`modified`)")
    if doctype == "User":
        keys += ", UNIQUE KEY `username` (`username`), UNIQUE KEY `api_key` (`api_key`)"
    standard = STANDARD.format(name=name) + (CHILD if child else "")
    return f"CREATE TABLE {quoted('tab' + doctype)} ({standard}{columns}{keys}) ENGINE={engine} {CHARSET}"


def row(**values):
    """The standard columns of a row that the installation makes, and its own."""
    at = now()
    return {"name": generate_hash(length=10), "creation": at, "modified": at, "modified_by": "Administrator",
            "owner": "Administrator", "docstatus": 0, "idx": 0, **values}


def single(doctype, **values):
    fields = {f.fieldname: f.default for f in frappe.get_meta(doctype).valued()}
    frappe.db.set_single_value(doctype, {"name": doctype, "owner": "Administrator", "docstatus": "0", **fields, **values})


def installed(app, version, idx, wizard):
    frappe.db.insert("Installed Application", row(
        parent="Installed Applications", parenttype="Installed Applications", parentfield="installed_applications",
        idx=idx, app_name=app, app_version=version, git_branch="version-15", has_setup_wizard=wizard,
        is_setup_complete=0))
    apps = [*frappe.get_installed_apps(), app]
    frappe.db.set_default("installed_apps", json.dumps(apps), "__global")


def install_frappe():
    for statement in FRAMEWORK:
        frappe.db.sql(statement + ("" if "SEQUENCE" in statement else " " + CHARSET))
    create(FRAPPE, "Core")
    for role in ROLES:
        frappe.db.insert("Role", row(name=role, role_name=role, desk_access=int(role not in ("All", "Guest", "Customer"))))
    for user in ("Administrator", "Guest"):
        frappe.db.insert("User", row(
            name=user, email=("admin" if user == "Administrator" else "guest") + "@example.com", first_name=user,
            full_name=user, username=user.lower(), enabled=1,
            user_type="System User" if user == "Administrator" else "Website User"))
    for idx, role in enumerate(ROLES, 1):
        if role not in ("All", "Guest", "Customer"):
            frappe.db.insert("Has Role", row(parent="Administrator", parenttype="User", parentfield="roles", idx=idx,
                                             role=role))
    frappe.db.insert("File", row(name="Home", file_name="Home", is_folder=1, is_home_folder=1))
    frappe.db.insert("File", row(name="Home/Attachments", file_name="Attachments", folder="Home", is_folder=1,
                                 is_attachments_folder=1))
    frappe.db.insert("Website Theme", row(name="Standard", theme="Standard", custom=0))
    for method, frequency in SCHEDULED:
        frappe.db.insert("Scheduled Job Type", row(name=method, method="frappe." + method, frequency=frequency))
    for idx, label in enumerate(("My Profile", "My Settings", "Log out"), 1):
        frappe.db.insert("Navbar Item", row(parent="Navbar Settings", parenttype="Navbar Settings", idx=idx,
                                            parentfield="settings_dropdown", item_label=label, is_standard=1))
    for doctype in ("System Settings", "Website Settings", "Navbar Settings", "Portal Settings"):
        single(doctype)
    for key in ("app_name", "time_zone", "language", "setup_complete", "enable_scheduler"):
        frappe.db.set_default(key, frappe.db.get_singles_dict("System Settings").get(key))
    frappe.db.insert("Patch Log", row(patch="frappe.patches.v15_0.first"))
    frappe.db.sql("insert into `__global_search` (doctype, name, title, content) values "
                  "('Role', 'System Manager', 'System Manager', 'Role Name : System Manager')")
    installed("frappe", frappe.__version__, 1, 1)
    frappe.db.commit()


def install_erpnext():
    import erpnext
    create(ERPNEXT, "Accounts")
    frappe.local.meta = {}
    single("Global Defaults")
    frappe.db.set_single_value("System Settings", "app_name", "ERPNext")
    frappe.db.insert("Patch Log", row(patch="erpnext.patches.v15_0.first"))
    frappe.db.sql("insert into `tabSeries` (name, current) values ('ACC-SINV-2026-', 0)")
    installed("erpnext", erpnext.__version__, 2, 1)
