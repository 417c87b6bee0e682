"""Who may do what in the CRM. A permission is the name of a function, unless its declaration says another one."""

__all__ = ["ROLES"]

READING = ["*.list", "*.get", "*.aggregate", "*.history", "customers.summary", "customers.top", "orders.sparkline"]
READING += ["activities.feed", "dashboard", "search"]

ROLES = {
    "owner": ["*"],
    "admin": ["*"],
    "sales": [
        *READING,
        "*.export",
        "customers.*",
        "contacts.*",
        "activities.*",
        "orders.place",
        "orders.update",
        "orders.confirm",
        "orders.cancel",
        "orders.set_status",
    ],
    "warehouse": [
        "products.list",
        "products.get",
        "inventory_items.*",
        "orders.list",
        "orders.get",
        "orders.pick",
        "orders.ship",
        "orders.deliver",
        "orders.set_status",
    ],
    "viewer": READING,
}
"""What each role of a member grants. `orders.set_status` moves many orders, each only where the one move is granted too."""
