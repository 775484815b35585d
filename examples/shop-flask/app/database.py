"""The tables, and sessions of them."""

import os
from datetime import datetime
from urllib.parse import quote

from sqlalchemy import ForeignKey, create_engine, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

# A secret: DATABASE_PASSWORD_FILE in docker-compose.override.yml becomes DATABASE_PASSWORD in every process.
URL = f"postgresql+psycopg://shop:{quote(os.environ['DATABASE_PASSWORD'], safe='')}@db/shop"


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    photo: Mapped[str | None]


class Order(Base):
    __tablename__ = "shop_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))
    placed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    shipped_at: Mapped[datetime | None]


# A connection that died with the database is found out before it is used.
Session = sessionmaker(create_engine(URL, pool_pre_ping=True))
