#!/bin/bash
# App double: the frontend, where the real image runs nginx.
cd /home/frappe/frappe-bench/sites
exec ../env/bin/python -m frappe.proxy 8080
