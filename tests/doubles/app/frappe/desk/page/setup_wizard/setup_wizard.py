"""App double: the setup wizard: settings, the first user, the company and its books."""
import datetime

import frappe
from frappe import ValidationError
from frappe.schema import row

WANTED = ("language", "country", "timezone", "currency")
COMPANY = ("company_name", "company_abbr", "chart_of_accounts", "fy_start_date", "fy_end_date")
ACCOUNTS = (("Debtors", "Asset", "Receivable"), ("Cash", "Asset", "Cash"), ("Sales", "Income", ""), ("VAT", "Liability", "Tax"))
LANGUAGES = {"english": "en", "deutsch": "de", "german": "de", "français": "fr", "español": "es"}


@frappe.whitelist()
def setup_complete(args):
    """Sets a fresh site up; a site that is set up already is left as it is."""
    frappe.only_for("System Manager")
    if frappe.is_setup_complete():
        return {"status": "ok"}
    args = frappe._dict(frappe.parse_json(args))
    erpnext = "erpnext" in frappe.get_installed_apps()
    missing = [key for key in (*WANTED, *(COMPANY if erpnext else ())) if not args.get(key)]
    if missing:
        raise ValidationError(f"Failed to complete setup: {', '.join(missing)} missing")
    settings(args)
    if args.get("email"):
        first_user(args)
    # A company that is there already is a site that was set up by hand: nothing is added to it.
    if erpnext and not frappe.db.count("Company"):
        company(args)
    frappe.db.set_single_value("System Settings", {"setup_complete": 1, "enable_scheduler": 1, "backup_limit": 3})
    frappe.db.set_default("setup_complete", 1)
    frappe.db.set_default("desktop:home_page", "workspace")
    frappe.db.sql("update `tabInstalled Application` set is_setup_complete=1 where has_setup_wizard=1")
    frappe.clear_cache()
    if args.get("setup_demo"):
        frappe.enqueue("erpnext.setup.demo.setup_demo_data", "long")
    return {"status": "ok"}


def settings(args):
    language = LANGUAGES.get(args.language.lower(), args.language[:2].lower())
    frappe.db.set_single_value("System Settings", {
        "country": args.country, "language": language, "time_zone": args.timezone, "currency": args.currency,
        "enable_telemetry": args.get("enable_telemetry") or 0})
    for key, value in (("country", args.country), ("language", language), ("time_zone", args.timezone),
                       ("currency", args.currency)):
        frappe.db.set_default(key, value)


def first_user(args):
    """The wizard's user has every role of the desk."""
    first, _, last = (args.get("full_name") or args.email).partition(" ")
    user = frappe.get_doc("User", args.email) if frappe.db.exists("User", args.email) else frappe.new_doc("User")
    user.update({"email": args.email, "first_name": first, "last_name": last, "enabled": 1,
                 "new_password": args.get("password")})
    user.roles = []
    for role in frappe.get_all("Role", filters={"desk_access": 1}, pluck="name"):
        if role != "Administrator":
            user.append("roles", {"role": role})
    user.save()


def company(args):
    doc = frappe.get_doc({"doctype": "Company", "company_name": args.company_name, "abbr": args.company_abbr,
                          "default_currency": args.currency, "country": args.country,
                          "chart_of_accounts": args.chart_of_accounts}).insert()
    start, end = (datetime.date.fromisoformat(args[k]) for k in ("fy_start_date", "fy_end_date"))
    if end <= start:
        raise ValidationError("Fiscal Year End Date should be one year after Fiscal Year Start Date")
    year = str(start.year) if start.year == end.year else f"{start.year}-{end.year}"
    if not frappe.db.exists("Fiscal Year", year):
        frappe.get_doc({"doctype": "Fiscal Year", "year": year, "year_start_date": start, "year_end_date": end}).insert()
    accounts = [*ACCOUNTS, *([(args.bank_account, "Asset", "Bank")] if args.get("bank_account") else [])]
    for name, root, kind in accounts:
        frappe.db.insert("Account", row(name=f"{name} - {doc.abbr}", account_name=name, company=doc.name,
                                        root_type=root, account_type=kind, account_currency=args.currency))
    frappe.db.set_single_value("Global Defaults", {"default_company": doc.name, "country": args.country,
                                                   "default_currency": args.currency, "current_fiscal_year": year})
    frappe.db.set_default("company", doc.name)
