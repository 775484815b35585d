"""The shop's pages."""

import os
import uuid
from pathlib import Path

from flask import Flask, redirect, render_template, request
from werkzeug.wrappers import Response

from app.database import Order, Product, Session
from app.jobs import ship

VERSION = "one"
UPLOADS = Path(os.environ.get("UPLOADS", "/srv/uploads"))

app = Flask(__name__)


@app.get("/")
def front() -> str:
    with Session() as session:
        return render_template("front.html", products=session.query(Product).order_by(Product.id).all())


@app.post("/products")
def add_product() -> Response:
    photo = request.files.get("photo")
    name = None
    if photo and photo.filename:
        name = f"{uuid.uuid4().hex}{Path(photo.filename).suffix.lower()}"
        photo.save(UPLOADS / name)
    with Session.begin() as session:
        session.add(Product(name=request.form["name"], photo=name))
    return redirect("/", 303)


@app.post("/orders")
def place_order() -> dict[str, int]:
    with Session.begin() as session:
        order = Order(product_id=int(request.form["product"]))
        session.add(order)
        session.flush()
        number = order.id
    ship.delay(number)
    return {"order": number}


@app.get("/orders")
def orders() -> dict[str, object]:
    with Session() as session:
        placed = session.query(Order).count()
        shipped = session.query(Order).filter(Order.shipped_at.is_not(None)).count()
    return {"version": VERSION, "placed": placed, "shipped": shipped}
