"""The invented products of the sample catalogue: how common they are and what is said of them."""

from dataclasses import dataclass

WIDTH, HEIGHT = 60, 80  # of a photo, in pixels

COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType",
    "baseColour", "season", "year", "usage", "productDisplayName",
)  # fmt: skip


@dataclass(frozen=True)
class ArticleType:
    """One article type: its columns in `styles.csv`, how common it is, and how it is drawn.

    Attributes:
        published: Photos of this type in the published catalogue; the sample keeps their order.
        genders: The words of the column `gender`, the usual one first; `usages` likewise.
        shape: The function in `fashion.catalogue.silhouettes` that draws one product with a pen.
    """

    name: str
    published: int
    master_category: str
    sub_category: str
    genders: str
    usages: str
    shape: str


TYPES_TEXT = """
Tshirts | 7066 | Apparel | Topwear | Men Women Boys Girls | Casual Sports | tshirt
Shirts | 3215 | Apparel | Topwear | Men Women Boys | Casual Formal | shirt
Casual Shoes | 2845 | Footwear | Shoes | Men Women Unisex | Casual | casual_shoe
Watches | 2542 | Accessories | Watches | Men Women Unisex | Casual Sports | watch
Sports Shoes | 2036 | Footwear | Shoes | Men Women Unisex | Sports Casual | sports_shoe
Kurtas | 1844 | Apparel | Topwear | Women Men Boys | Ethnic | kurta
Tops | 1762 | Apparel | Topwear | Women Girls | Casual | top
Handbags | 1759 | Accessories | Bags | Women Unisex | Casual | handbag
Heels | 1323 | Footwear | Shoes | Women | Casual Formal | heel
Sunglasses | 1073 | Accessories | Eyewear | Men Women Unisex | Casual | sunglasses
Wallets | 936 | Accessories | Wallets | Women Men Unisex | Casual Formal | wallet
Flip Flops | 914 | Footwear | Flip Flops | Men Women Unisex Boys | Casual | flip_flops
Sandals | 897 | Footwear | Sandal | Men Unisex Girls Boys | Casual | sandal
Briefs | 849 | Apparel | Innerwear | Men Women | Casual | briefs
Belts | 813 | Accessories | Belts | Men Women | Casual Formal | belt
Backpacks | 724 | Accessories | Bags | Unisex Men Women | Casual Sports Travel | backpack
Socks | 686 | Accessories | Socks | Men Women Unisex | Casual Sports | sock
Formal Shoes | 637 | Footwear | Shoes | Men | Formal | formal_shoe
Perfume and Body Mist | 613 | Personal Care | Fragrance | Men Women | Casual | perfume
Jeans | 608 | Apparel | Bottomwear | Men Women Boys Girls | Casual | jeans
Shorts | 547 | Apparel | Bottomwear | Men Women Boys Girls | Casual Sports | shorts
Trousers | 530 | Apparel | Bottomwear | Men Women | Casual Formal | trousers
Flats | 500 | Footwear | Shoes | Women | Casual Ethnic | flat
Bra | 477 | Apparel | Innerwear | Women | Casual Sports | bra
Dresses | 464 | Apparel | Dress | Women Girls | Casual Party | dress
Sarees | 427 | Apparel | Saree | Women | Ethnic | saree
Earrings | 416 | Accessories | Jewellery | Women | Casual Ethnic | earrings
Deodorant | 347 | Personal Care | Fragrance | Men Women | Casual | deodorant
Nail Polish | 329 | Personal Care | Nails | Women | Casual | nail_polish
Lipstick | 315 | Personal Care | Lips | Women | Casual | lipstick
Track Pants | 304 | Apparel | Bottomwear | Men Women | Sports Casual | track_pants
Clutches | 290 | Accessories | Bags | Women | Casual Party | clutch
Sweatshirts | 285 | Apparel | Topwear | Men Women Boys | Casual Sports | sweatshirt
Caps | 283 | Accessories | Headwear | Unisex Men Women | Casual Sports | cap
Sweaters | 277 | Apparel | Topwear | Men Women | Casual | sweater
Ties | 263 | Accessories | Ties | Men | Formal Casual | tie
Jackets | 258 | Apparel | Topwear | Men Women Boys | Casual Sports | jacket
Innerwear Vests | 242 | Apparel | Innerwear | Men Girls Boys | Casual | innerwear_vest
Kurtis | 234 | Apparel | Topwear | Women | Ethnic | kurti
Tunics | 229 | Apparel | Topwear | Women | Casual Ethnic | tunic
Nightdress | 189 | Apparel | Loungewear and Nightwear | Women | Casual | nightdress
Leggings | 177 | Apparel | Bottomwear | Women Girls | Casual Ethnic | leggings
Pendant | 176 | Accessories | Jewellery | Women Men | Casual | pendant
Capris | 175 | Apparel | Bottomwear | Women Girls Boys | Casual Sports | capris
Necklace and Chains | 160 | Accessories | Jewellery | Women | Casual Ethnic | necklace
Lip Gloss | 144 | Personal Care | Lips | Women | Casual | lip_gloss
Night suits | 141 | Apparel | Loungewear and Nightwear | Women Men | Casual | night_suit
Trunk | 140 | Apparel | Innerwear | Men | Casual | trunk
Skirts | 128 | Apparel | Bottomwear | Women Girls | Casual Formal | skirt
Scarves | 119 | Accessories | Scarves | Women Men | Casual | scarf
Ring | 118 | Accessories | Jewellery | Women Men | Casual | ring
Dupatta | 116 | Apparel | Topwear | Women | Ethnic | dupatta
Cufflinks | 106 | Accessories | Cufflinks | Men | Casual Formal | cufflinks
Kajal and Eyeliner | 102 | Personal Care | Makeup | Women | Casual | kajal
Umbrellas | 6 | Accessories | Umbrellas | Unisex | Casual | umbrella
"""


def _article_type(line: str) -> ArticleType:
    name, published, *columns = line.split(" | ")
    return ArticleType(name, int(published), *columns)


*TYPES, RARE_TYPE = [_article_type(line) for line in TYPES_TEXT.strip().splitlines()]

PALETTE: dict[str, tuple[int, int, int]] = {
    "Black": (28, 28, 30), "White": (246, 246, 244), "Blue": (42, 92, 190),
    "Brown": (104, 66, 40), "Grey": (132, 134, 138), "Red": (200, 32, 42),
    "Green": (46, 132, 66), "Pink": (238, 128, 170), "Navy Blue": (24, 34, 84),
    "Purple": (112, 58, 150), "Silver": (190, 194, 200), "Yellow": (244, 210, 52),
    "Beige": (222, 204, 168), "Maroon": (108, 22, 38), "Gold": (204, 164, 62),
    "Orange": (240, 124, 36), "Olive": (106, 110, 52), "Cream": (248, 238, 208),
    "Charcoal": (62, 66, 72), "Peach": (250, 190, 152), "Lavender": (186, 168, 222),
    "Khaki": (172, 154, 108), "Magenta": (204, 34, 128), "Teal": (18, 122, 126),
    "Tan": (196, 142, 92), "Mustard": (214, 164, 34), "Turquoise Blue": (64, 188, 206),
    "Rust": (176, 76, 34), "Coffee Brown": (70, 44, 32), "Sea Green": (104, 196, 158),
}  # fmt: skip

SEASONS = {"Summer": 0.46, "Fall": 0.25, "Winter": 0.19, "Spring": 0.1}
YEARS = {2011: 0.32, 2012: 0.36, 2013: 0.03, 2015: 0.06, 2016: 0.14, 2017: 0.08, 2018: 0.01}
BRANDS = (
    "Alderwick", "Bluefern", "Corvane", "Dunmarrow", "Eskelund", "Farrowby", "Greyling",
    "Hollowmere", "Ivarsson", "Juniper Row", "Kestrelle", "Lorimund", "Marlowe Pike", "Northgable",
)  # fmt: skip
LOOKS = ("Classic", "Everyday", "Studio", "Weekend", "Heritage", "Signature", "Essential", "Urban")
